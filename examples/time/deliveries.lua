-- deliveries.lua: enrichment by lookup: each order with the address that Redis holds for its customer.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = "purchase",
  key    = "user_id",
  event  = { user_id = "string", order_id = "string", sku = "string", qty = "integer" },

  on_event = function(event, ctx)
    -- All lookups of a batch travel together; an address that an earlier event has written is seen.
    local customer = ctx.redis.hgetall("customer:" .. ctx.key)
    if not customer.street then
      ctx.dead("no address of " .. ctx.key) -- waits as a dead letter:  tidemill dlq retry --all --rule deliveries
    end
    ctx.emit("deliveries", {
      order_id = event.order_id, sku = event.sku, qty = event.qty,
      name = customer.name, street = customer.street, city = customer.city,
    })
  end,
}
