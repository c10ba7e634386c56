-- attribution.lua: stream-table join: each purchase with the latest product that its customer has looked at before.
local tidemill = require "tidemill"

return tidemill.rule {
  stream = { "browse", "purchase" },
  key    = "user_id",
  event  = { user_id = "string", sku = "string", category = "string" },
  state  = { ttl = "1d" }, -- a look that is older has led to nothing

  on_event = function(event, ctx)
    if ctx.stream == "browse" then -- the table: the latest row of each key
      ctx.state = { sku = event.sku, category = event.category, at = ctx.now }
      return
    end
    local looked_at = ctx.state
    if not looked_at.sku then return ctx.reason "bought without a look" end
    ctx.emit("attributions", {
      order_id = event.order_id, user_id = ctx.key, sku = event.sku, looked_at = looked_at.sku,
      is_same = looked_at.category == event.category, after_ms = ctx.now - looked_at.at,
    })
  end,
}
