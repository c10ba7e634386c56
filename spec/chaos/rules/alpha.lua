-- alpha.lua: the first of all rules tells by which version an event was processed; omega.lua, the last one, must agree.
local tidemill = require "tidemill"
local version = require "lib.version"

return tidemill.rule {
  stream = "clicks",
  when   = { type = "text" },

  on_event = function(_, ctx)
    ctx.emit("marks", { id = ctx.id, rule = "alpha", version = version })
  end,
}
