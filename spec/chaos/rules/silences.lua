-- silences.lua: tells of a shop on which nobody has clicked for a moment: a timer that each click sets anew and a text cancels.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = "clicks",
  when   = { type = { "click", "text" }, shop = { "s1", "s2", "s3" } },
  key    = "shop",

  on_event = function(event, ctx)
    ctx.state.n = (ctx.state.n or 0) + 1
    if event.type == "click" then
      ctx.timer.set("silence", "10ms", { id = ctx.id })
    else
      ctx.timer.cancel("silence")
    end
  end,

  on_timer = function(_, ctx)
    ctx.state.fired = (ctx.state.fired or 0) + 1
    ctx.emit("silences", { shop = ctx.key, due = ctx.now, since = ctx.payload.id, n = ctx.state.n, fired = ctx.state.fired })
  end,
}
