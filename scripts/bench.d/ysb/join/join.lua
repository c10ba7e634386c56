-- join.lua: views, each with the campaign of its ad, which a table in Redis knows.
local tidemill = require "tidemill"

local campaigns = {} -- what that table said: ads do not change campaigns. It may vanish; then Redis is asked again.

return tidemill.rule {
  stream = "ads",
  when   = { event_type = "view" },
  key    = "ad_id",

  on_event = function(event, ctx)
    local ad = event.ad_id
    local campaign = campaigns[ad]
    if not campaign then
      campaign = ctx.redis.hget("campaigns", ad)
      campaigns[ad] = campaign
    end
    ctx.emit("views", { campaign = campaign, event_time = event.event_time })
  end,
}
