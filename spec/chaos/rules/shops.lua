-- shops.lua: a second state on the same events, shared by all streams; every 50th event of a shop is told.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = { "orders", "visits", "clicks" },
  key    = "shop",

  on_event = function(event, ctx)
    local count = (ctx.state.count or 0) + 1
    ctx.state.count = count
    if count % 50 == 0 then
      ctx.emit("milestones", { shop = event.shop, count = count })
    end
  end,
}
