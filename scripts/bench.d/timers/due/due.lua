-- due.lua: one timer a user, and nothing else: set by an event with a delay, or a time, cancelled by one without.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = "orders",
  key    = "user_id",

  on_event = function(event, ctx)
    if event.delay then
      ctx.timer.set("due", event.delay)
    elseif event.at then
      ctx.timer.set_at("due", event.at)
    else
      ctx.timer.cancel("due")
    end
  end,

  on_timer = function(_, ctx)
    ctx.emit("fired", { user_id = ctx.key, due = ctx.now })
  end,
}
