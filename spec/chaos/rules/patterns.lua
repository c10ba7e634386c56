-- patterns.lua: counts a text that a pattern is found in; from one of many letters the pattern does not come back.
local tidemill = require "tidemill"

local PATTERN = ("a*"):rep(30) .. "b"

return tidemill.rule {
  stream = "clicks",
  when   = { type = "text" },

  on_event = function(event, ctx)
    if #event.text > 20 then
      ctx.log.warn("for ever on", ctx.id)
    end
    if event.text:find(PATTERN) then
      ctx.redis.hincrby("found", event.user, 1)
    end
  end,
}
