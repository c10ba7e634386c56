-- omega.lua: the last of all rules; see alpha.lua.
local tidemill = require "tidemill"
local version = require "lib.version"

return tidemill.rule {
  stream = "clicks",
  when   = { type = "text" },
  name   = "zz-omega",

  on_event = function(_, ctx)
    ctx.emit("marks", { id = ctx.id, rule = "omega", version = version })
  end,
}
