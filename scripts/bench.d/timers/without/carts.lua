-- carts.lua: what a cart holds; as in `with`, but for the timers.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = "carts",
  key    = "user_id",

  on_event = function(event, ctx)
    if event.type == "pay" then
      ctx.state.total = nil
    else
      ctx.state.total = (ctx.state.total or 0) + event.total
    end
  end,
}
