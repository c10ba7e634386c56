-- cart.lua: A without B within T: whoever leaves a cart for half an hour without buying is reminded of it.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = { "cart", "purchase" },
  key    = "user_id",
  event  = { type = "string", user_id = "string", total = "number" },
  state  = { ttl = "8d" },

  on_event = function(event, ctx)
    if event.type == "purchase" or event.total == 0 then -- bought, or emptied
      ctx.timer.cancel "remind"
      ctx.state = nil
    else
      ctx.state.total = event.total
      ctx.timer.set("remind", "30m") -- replaces the one before: half an hour after the last change
    end
  end,

  on_timer = function(name, ctx)
    ctx.emit("reminders", { user_id = ctx.key, total = ctx.state.total, at = ctx.now })
  end,
}
