-- join.lua: views, each with the campaign of its ad: a lookup in Redis for every one.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = "ads",
  when   = { event_type = "view" },
  key    = "ad_id",

  on_event = function(event, ctx)
    local campaign = ctx.redis.hget("campaigns", event.ad_id)
    ctx.emit("views", { campaign = campaign, event_time = event.event_time })
  end,
}
