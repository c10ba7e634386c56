-- totals.lua: what each user has spent; every third purchase is told. A poisoned event raises at its end, when everything is
-- already done: nothing of it may stay. Once somebody has mended the world, its retry goes through.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = { "orders", "visits" },
  when   = { type = "buy" },
  key    = "user",

  on_event = function(event, ctx)
    local state, amount = ctx.state, tonumber(event.amount)
    state.total = (state.total or 0) + amount
    state.n = (state.n or 0) + 1
    state.last = ctx.id
    ctx.redis.hincrby("sum", event.user, amount)
    if state.n % 3 == 0 then
      ctx.emit("offers", { user = event.user, total = state.total, n = state.n, id = ctx.id, stream = ctx.stream })
    end
    if event.poison and not ctx.redis.get("mended") then
      error("poisoned")
    end
  end,
}
