-- personalization.lua: shows a visitor who strays from it their favourite category, once a session.
-- What somebody bought is a hash in Redis, which the shop's own pages may read as well.
local tidemill = require "tidemill"

local ENOUGH = 2 -- purchases that make a favourite

local function favourite(profile)
  local best, most = nil, ENOUGH - 1
  for category, count in pairs(profile) do
    count = tonumber(count)
    if count > most or (count == most and best and category < best) then
      best, most = category, count
    end
  end
  return best
end

return tidemill.rule {
  stream = { "browse", "purchase" },
  when = { type = { "view", "purchase" } },
  key = "user_id",
  event = { user_id = "string", category = "string", session = "string" },
  state = { ttl = "1d" },

  on_event = function(event, ctx)
    local profile = "profile:" .. ctx.key
    if event.type == "purchase" then
      ctx.redis.hincrby(profile, event.category, 1)
      return
    end
    if ctx.state.shown == event.session then
      return
    end
    local category = favourite(ctx.redis.hgetall(profile))
    if category and category ~= event.category then
      ctx.state.shown = event.session
      ctx.emit("recommendations", { user_id = ctx.key, session = event.session, category = category })
    end
  end,
}
