-- sessions.lua: visits by their own time, which is out of order: within `lateness` nothing may change by that, beyond it a visit is
-- either in a session or a letter. The watermark only moves by events, so that it is known which.
local tidemill = require "tidemill"
local window = require "tidemill.window"

return tidemill.rule {
  stream   = "visits",
  when     = { shop = { "s7", "s8", "s9" } },
  key      = "shop",
  time     = "ts",
  lateness = "100ms",
  idle     = "10h",
  window   = window.session("25ms"),

  merge = function(a, b)
    return { n = a.n + b.n, sum = a.sum + b.sum }
  end,

  on_event = function(event, ctx)
    local w = ctx.window
    w.n, w.sum = (w.n or 0) + 1, (w.sum or 0) + (tonumber(event.amount) or 0)
  end,

  on_window = function(span, ctx)
    ctx.state.count = (ctx.state.count or 0) + 1
    ctx.emit("sessions", { shop = ctx.key, start = span.start, stop = span.stop, n = ctx.window.n, sum = ctx.window.sum,
      count = ctx.state.count })
  end,
}
