-- visits.lua: session windows: what a customer did from coming until half an hour after the last sign of life.
local tidemill = require "tidemill"
local window = require "tidemill.window"

local GAP_MS = tidemill.duration "30m"

return tidemill.rule {
  stream   = { "browse", "cart", "purchase" },
  time     = "ts",
  lateness = "1m",
  key      = "user_id",
  event    = { type = "string", user_id = "string", category = "string" },
  window   = window.session(GAP_MS),
  -- An event that comes late may join two visits into one.
  merge    = window.merge { views = window.count, bought = window.sum, entry = window.first, exit = window.last },

  on_event = function(event, ctx)
    local visit = ctx.window
    if event.type == "view" then visit.views = window.count.add(visit.views) end
    if event.type == "purchase" then visit.bought = window.sum.add(visit.bought, event.total) end
    visit.entry = window.first.add(visit.entry, event.category, ctx.now)
    visit.exit = window.last.add(visit.exit, event.category, ctx.now)
  end,

  on_window = function(span, ctx)
    local visit = ctx.window
    ctx.emit("visits", {
      user_id = ctx.key, start = span.start, minutes = math.floor((span.stop - span.start - GAP_MS) / 60000),
      views = window.count.value(visit.views), bought = window.sum.value(visit.bought),
      entry = window.first.value(visit.entry), exit = window.last.value(visit.exit),
    })
  end,
}
