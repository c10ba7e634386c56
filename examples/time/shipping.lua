-- shipping.lua: interval join: the lines of an order and its payment, at most an hour apart, whichever comes first.
local tidemill = require "tidemill"

local APART_MS = tidemill.duration "1h"

local function ship_if_paid(line, paid, ctx)
  if math.abs(line.at - paid.at) > APART_MS then return end
  ctx.emit("shipments", { order_id = ctx.key, sku = line.sku, qty = line.qty, method = paid.method })
end

return tidemill.rule {
  stream = { "purchase", "payment" },
  when   = function(event) return event.status == nil or event.status == "paid" end, -- purchases have none
  time   = "ts",
  clock  = "event",
  key    = "order_id",
  event  = { order_id = "string", ts = "number" },

  on_event = function(event, ctx)
    local order = ctx.state
    if ctx.stream == "payment" then
      order.paid = { at = ctx.now, method = event.method }
      for _, line in ipairs(order.lines or {}) do ship_if_paid(line, order.paid, ctx) end
      order.lines = nil
    else
      local line = { at = ctx.now, sku = event.sku, qty = event.qty }
      if order.paid then
        ship_if_paid(line, order.paid, ctx)
      else
        order.lines = order.lines or {}
        table.insert(order.lines, line)
      end
    end
    -- Events may be out of order: what counts is the latest.
    order.newest = math.max(order.newest or 0, ctx.now)
    ctx.timer.set_at("forget", order.newest + APART_MS)
  end,

  on_timer = function(name, ctx)
    for _, line in ipairs(ctx.state.lines or {}) do ctx.emit("unpaid", { order_id = ctx.key, sku = line.sku }) end
    ctx.state = nil
  end,
}
