-- fraud.lua: an alert when somebody tries out cards: several declined payments within a short time.
local tidemill = require "tidemill"

local WITHIN = tidemill.duration "10m"
local TRIES = 4

return tidemill.rule {
  stream = "payment",
  when = { status = "declined" },
  key = "user_id",
  event = { user_id = "string", order_id = "string", card = "string?", amount = "number" },
  state = { ttl = "1h" },

  on_event = function(event, ctx)
    local recent = {}
    for _, try in ipairs(ctx.state.tries or {}) do
      if try.at > ctx.now - WITHIN then
        recent[#recent + 1] = try
      end
    end
    recent[#recent + 1] = { at = ctx.now, card = event.card }
    if #recent < TRIES then
      ctx.state.tries = recent
      return
    end
    ctx.state.tries = nil -- the next alert needs as many tries again
    ctx.reason(("%d declined payments"):format(#recent))
    ctx.emit("alerts", { user_id = ctx.key, order_id = event.order_id, tries = #recent, since = recent[1].at })
  end,
}
