-- count.lua: how many views an ad had in ten seconds. An ad has one campaign, so counting may come before the join.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = "ads",
  when   = { event_type = "view" },
  key    = "ad_id",
  time   = "event_time",
  window = tidemill.window.tumbling("10s"),

  on_event = function(_, ctx)
    ctx.window.n = (ctx.window.n or 0) + 1
  end,

  on_window = function(span, ctx)
    ctx.emit("views", { ad = ctx.key, start = span.start, n = ctx.window.n })
  end,
}
