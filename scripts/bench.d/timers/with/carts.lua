-- carts.lua: what a cart holds, and a reminder of one that is left for half an hour.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = "carts",
  key    = "user_id",

  on_event = function(event, ctx)
    if event.type == "pay" then
      ctx.state.total = nil
      ctx.timer.cancel("remind")
    else
      ctx.state.total = (ctx.state.total or 0) + event.total
      ctx.timer.set("remind", "30m")
    end
  end,

  on_timer = function(_, ctx)
    ctx.emit("fired", { user_id = ctx.key, due = ctx.now, total = ctx.state.total })
  end,
}
