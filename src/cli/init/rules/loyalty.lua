-- rules/loyalty.lua: a discount for every 100 euros that a customer has spent.
--
-- A rule is one file of this folder; its name is the file's. `man tidemill-rules` has all that may stand here.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = "purchase",                                -- read from here
  key    = "user_id",                                 -- events of one customer run in order and share one state
  event  = { user_id = "string", total = "number" },  -- others become dead letters: tidemill dlq list
  state  = { ttl = "90d" },                           -- forgotten 90 days after the last change

  on_event = function(event, ctx)
    local spent = (ctx.state.spent or 0) + event.total
    if spent >= 100 then
      -- An effect: it is written in the same transaction as the state and the position in the stream.
      ctx.emit("offers", { user_id = ctx.key, percent = 5 })
      spent = spent - 100
    end
    ctx.state.spent = spent -- what is left in ctx.state is there at the customer's next event
  end,
}
