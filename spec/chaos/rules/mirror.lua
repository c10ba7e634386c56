-- mirror.lua: in shadow of totals.lua, with a state of its own: what it would have told must be kept once for each event, and
-- nothing of it may be written.
local tidemill = require "tidemill"

return tidemill.rule {
  mode      = "shadow",
  shadow_of = "totals",
  stream    = { "orders", "visits" },
  when      = { type = "buy" },
  key       = "user",

  on_event = function(event, ctx)
    local state = ctx.state
    state.total, state.n = (state.total or 0) + tonumber(event.amount), (state.n or 0) + 1
    ctx.redis.hincrby("sum", event.user, 1)
    ctx.emit("offers", { user = event.user, total = state.total, n = state.n })
  end,
}
