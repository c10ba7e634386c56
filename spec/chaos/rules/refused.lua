-- refused.lua: an effect that Redis refuses inside EXEC (alist is a list), beside one that it does not.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = "clicks",
  when   = { type = "wrong" },

  on_event = function(_, ctx)
    ctx.redis.incr("alist")
    ctx.redis.hincrby("wrong", "n", 1)
  end,
}
