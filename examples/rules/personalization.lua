-- personalization.lua: learns what customers buy, in a profile that all may read, and recommends while they look around.
local tidemill = require "tidemill"

local ASK_EVERY = 3 -- views; a lookup costs a round trip, so not each view is worth one

-- The category of which most was bought; of equals the first by name, so that a replay comes to the same.
local function favourite(profile)
  local best, most
  for category, count in pairs(profile) do
    local bought = tonumber(count)
    if not most or bought > most or (bought == most and category < best) then best, most = category, bought end
  end
  return best, most
end

return tidemill.rule {
  stream = { "browse", "purchase" },
  when   = { type = { "view", "purchase" } },
  key    = "user_id",
  event  = { user_id = "string", sku = "string", category = "string", qty = "integer?" },
  state  = { ttl = "1h" }, -- a visit

  on_event = function(event, ctx)
    local profile_key = "profile:" .. ctx.key
    if event.type == "purchase" then
      ctx.redis.hincrby(profile_key, event.category, event.qty or 1) -- a write: one of this event's effects
      return
    end
    ctx.state.views = (ctx.state.views or 0) + 1
    if ctx.state.views % ASK_EVERY ~= 0 then return end
    local category, bought = favourite(ctx.redis.hgetall(profile_key)) -- a lookup: sees the effects of all earlier events
    if category and category ~= event.category then
      ctx.emit("recommendations", { user_id = ctx.key, category = category, bought = bought, instead_of = event.category })
    end
  end,
}
