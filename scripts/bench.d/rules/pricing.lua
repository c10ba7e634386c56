-- pricing.lua: the work of the benchmark: a discount by segment, and what each user has spent in all.
local tidemill = require "tidemill"

local DISCOUNT = { vip = 0.15, loyal = 0.10, new = 0.05 }

return tidemill.rule {
  stream = "events",
  when   = { type = "purchase" },
  key    = "user_id",

  on_event = function(event, ctx)
    local discount = DISCOUNT[event.segment] or 0
    local price = event.price * (1 - discount)
    local total = (ctx.state.total or 0) + price * event.qty
    ctx.state.total = total
    ctx.emit("offers", {
      user_id = event.user_id, sku = event.sku, price = price, discount = discount, total = total, ts = event.ts,
    })
  end,
}
