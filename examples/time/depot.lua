-- depot.lua: A without B within T, by the scanners' own clocks: a parcel that reaches no depot within a day is missing.
local tidemill = require "tidemill"

return tidemill.rule {
  stream   = "parcel",
  when     = { type = { "handed_over", "scanned" } },
  time     = "at", -- such as "2026-01-05T09:30:00+01:00"
  lateness = "10m", -- scanners send when they have a network: so long is waited for those behind
  clock    = "event", -- timers are due when the events' own time has come so far, also in a replay of last year
  key      = "parcel_id",
  event    = { parcel_id = "string", at = "string", courier = "string?" },
  state    = { ttl = "3d" },

  on_event = function(event, ctx)
    if event.type == "scanned" then
      ctx.state.is_scanned = true -- the scan may come before the hand-over
      ctx.timer.cancel "missing"
    elseif not ctx.state.is_scanned then
      ctx.timer.set("missing", "24h", { courier = event.courier, handed_over = event.at }) -- what on_timer has to know
    end
  end,

  on_timer = function(name, ctx)
    local parcel = ctx.payload
    ctx.emit("missing", { parcel_id = ctx.key, courier = parcel.courier, handed_over = parcel.handed_over })
  end,
}
