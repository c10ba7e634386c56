-- fraud.lua: velocity: whoever pays with many cards within minutes, or is declined again and again, is reported once.
local tidemill = require "tidemill"

local WINDOW_MS, MOST_CARDS, MOST_DECLINED = tidemill.duration "10m", 3, 5

return tidemill.rule {
  stream = "payment",
  when   = { method = "card" },
  key    = "user_id",
  event  = { user_id = "string", card = "string", status = "string", amount = "number" },
  state  = { ttl = WINDOW_MS },

  on_event = function(event, ctx)
    if event.amount <= 0 then ctx.dead("an amount of " .. event.amount) end

    -- What lies further back is forgotten. ctx.now is the event's time, never the wall clock: a replay decides the same.
    local since, kept = ctx.now - WINDOW_MS, {}
    for _, one in ipairs(ctx.state.payments or {}) do
      if one.at > since then kept[#kept + 1] = one end
    end
    kept[#kept + 1] = { at = ctx.now, card = event.card, declined = event.status == "declined" or nil }

    local cards, seen, declined = 0, {}, 0
    for _, one in ipairs(kept) do
      if not seen[one.card] then cards, seen[one.card] = cards + 1, true end
      if one.declined then declined = declined + 1 end
    end
    ctx.state.payments = kept
    if (cards > MOST_CARDS or declined >= MOST_DECLINED) and not ctx.state.is_reported then
      ctx.state.is_reported = true
      ctx.emit("alerts", { user_id = ctx.key, cards = cards, declined = declined, order_id = event.order_id })
    end
  end,
}
