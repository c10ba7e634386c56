-- receipts.lua: old and new producers on one stream: a receipt for each order, whatever version of it came.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = "order",
  event  = require "schemas.order", -- what it is now, and how older ones become it
  key    = function(event) return event.customer.id end,
  state  = { ttl = "365d" },

  on_event = function(event, ctx)
    ctx.state.orders = (ctx.state.orders or 0) + 1
    ctx.emit("receipts", {
      customer = ctx.key, order = ctx.state.orders, total = event.total, currency = event.currency, lines = #event.items,
    })
  end,
}
