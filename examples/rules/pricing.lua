-- pricing.lua: a discount by segment and by what a customer has spent so far; each purchase is answered with an offer.
local tidemill = require "tidemill"

local DISCOUNT = { gold = 0.15, silver = 0.10, basic = 0.05 }
local LOYAL_FROM = 1000 -- spent in all; from here on two more percent

local function cents(amount)
  return math.floor(amount * 100 + 0.5) / 100
end

return tidemill.rule {
  stream = "purchase",
  key    = "user_id",
  event  = { user_id = "string", sku = "string", price = "number", qty = "integer", segment = "string?" },
  state  = { ttl = "30d" }, -- whoever buys nothing for a month begins anew

  on_event = function(event, ctx)
    local spent = cents((ctx.state.spent or 0) + event.price * event.qty)
    ctx.state.spent = spent
    ctx.state.orders = (ctx.state.orders or 0) + 1

    local discount = DISCOUNT[event.segment] or 0
    if spent >= LOYAL_FROM then discount = cents(discount + 0.02) end
    if discount == 0 then return ctx.reason("no discount for segment " .. tostring(event.segment)) end
    ctx.emit("offers", {
      user_id = event.user_id, sku = event.sku, discount = discount, price = cents(event.price * (1 - discount)),
      spent = spent, orders = ctx.state.orders,
    })
  end,
}
