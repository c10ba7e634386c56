-- beats.lua: how much came of two streams in each 50 ms of the clock. Nothing can be late, as entry IDs are that clock; and where the
-- streams stand still the windows close all the same.
local tidemill = require "tidemill"
local window = require "tidemill.window"

return tidemill.rule {
  stream = { "orders", "visits" },
  when   = { shop = { "s4", "s5", "s6" } },
  key    = "shop",
  window = window.tumbling("50ms"),
  idle   = "20ms",

  on_event = function(_, ctx)
    ctx.window.n = (ctx.window.n or 0) + 1
  end,

  on_window = function(span, ctx)
    ctx.emit("beats", { shop = ctx.key, start = span.start, stop = span.stop, n = ctx.window.n })
  end,
}
