-- revenue.lua: tumbling windows: what was paid in each country in each hour, by the time at which it was paid.
local tidemill = require "tidemill"
local window = require "tidemill.window"

return tidemill.rule {
  stream   = "payment",
  when     = { status = "paid" },
  time     = "ts",
  lateness = "1m", -- an hour closes a minute after its end, for payments that come behind later ones
  key      = "country",
  event    = { country = "string", amount = "number" },
  window   = window.tumbling "1h",

  on_event = function(event, ctx)
    local hour = ctx.window
    hour.payments = window.count.add(hour.payments)
    hour.revenue = window.sum.add(hour.revenue, event.amount)
    hour.largest = window.max.add(hour.largest, event.amount)
  end,

  on_window = function(span, ctx)
    local hour = ctx.window
    ctx.emit("revenue", {
      country = ctx.key, start = span.start, payments = window.count.value(hour.payments),
      revenue = window.sum.value(hour.revenue), largest = window.max.value(hour.largest),
    })
  end,

  on_late = function(event, ctx) -- its hour was told already
    ctx.emit("corrections", { country = ctx.key, at = ctx.now, amount = event.amount })
  end,
}
