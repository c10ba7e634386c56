-- checks.lua: asks Redis, and asks for what it has written itself: an answer must see every earlier event, once.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = "visits",
  when   = { type = "check" },

  on_event = function(event, ctx)
    local tier = ctx.redis.hget("tiers", event.user)
    local seen = tonumber(ctx.redis.get("hits:" .. event.user)) or 0
    ctx.redis.incr("hits:" .. event.user)
    ctx.emit("checks", { user = event.user, tier = tier, seen = seen, id = ctx.id })
  end,
}
