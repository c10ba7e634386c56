-- pricing.lua: an offer for the next order on every purchase, better for those who have spent more.
local tidemill = require "tidemill"

local BY_SEGMENT = { gold = 0.10, silver = 0.05 }
local LOYAL = 500 -- spent with us, in EUR; from then on two more per cent

return tidemill.rule {
  stream = "purchase",
  when = { type = "purchase" },
  key = "user_id",
  event = { user_id = "string", price = "number", qty = "integer", segment = "string?" },
  state = { ttl = "90d" },

  on_event = function(event, ctx)
    local spent = (ctx.state.spent or 0) + event.price * event.qty
    local discount = BY_SEGMENT[event.segment] or 0
    if spent >= LOYAL then
      discount = discount + 0.02
    end
    ctx.state.spent = spent
    if discount > 0 then
      ctx.reason(("%s, %.2f EUR spent"):format(event.segment or "no segment", spent))
      ctx.emit("offers", { user_id = ctx.key, sku = event.sku, discount = discount, spent = spent, at = ctx.now })
    end
  end,
}
