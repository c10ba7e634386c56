-- count.lua: how many views a campaign had in ten seconds.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = "views",
  key    = "campaign",
  time   = "event_time",
  window = tidemill.window.tumbling("10s"),

  on_event = function(_, ctx)
    ctx.window.n = (ctx.window.n or 0) + 1
  end,

  on_window = function(span, ctx)
    ctx.redis.hset("ysb:" .. ctx.key, span.start, ctx.window.n)
    ctx.emit("results", { campaign = ctx.key, start = span.start, n = ctx.window.n })
  end,
}
