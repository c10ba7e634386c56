-- join.lua: an ad's count goes to its campaign, which a table in Redis knows.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = "views",
  key    = "ad",

  on_event = function(event, ctx)
    local campaign = ctx.redis.hget("campaigns", event.ad)
    ctx.redis.hincrby("ysb:" .. campaign, event.start, event.n)
    ctx.emit("results", { campaign = campaign, start = event.start, n = event.n })
  end,
}
