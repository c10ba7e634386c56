-- velocity.lua: how much happened lately: a customer's eleventh payment, or more than 1,000 euros, within an hour.
local tidemill = require "tidemill"

local MOST_SPENT, MOST_PAYMENTS, HOUR_MS = 1000, 10, tidemill.duration "1h"
local hour = tidemill.window.ring("1m", 60) -- counts and sums of the last sixty minutes, one bucket each

return tidemill.rule {
  stream = "payment",
  when   = { status = "paid" },
  time   = "ts", -- a payment that comes late counts in the minute in which it was made
  key    = "user_id",
  event  = { user_id = "string", amount = "number", order_id = "string" },
  state  = { ttl = HOUR_MS },

  on_event = function(event, ctx)
    local lately = hour.add(ctx.state.lately, ctx.now, event.amount)
    ctx.state.lately = lately
    local spent, payments = hour.sum(lately, ctx.now), hour.count(lately, ctx.now)
    if spent <= MOST_SPENT and payments <= MOST_PAYMENTS then return end
    if ctx.now < (ctx.state.quiet_until or 0) then return end -- once an hour is enough
    ctx.state.quiet_until = ctx.now + HOUR_MS
    ctx.emit("alerts", { user_id = ctx.key, spent = spent, payments = payments, order_id = event.order_id })
  end,
}
