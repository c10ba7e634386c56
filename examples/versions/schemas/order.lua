-- order.lua: the shop's orders. 1: one article, in cents; 2: articles in a list; 3: the customer is a map.
local tidemill = require "tidemill"

return tidemill.schema {
  event = {
    customer = { fields = { id = "string", name = "string?" } },
    items    = { list = { fields = { sku = "string", count = { "integer", default = 1, renamed = "qty" } } } },
    total    = "number",
    currency = { "string", default = "EUR", enum = { "EUR", "USD" } },
    note     = "string?",
  },

  upgrade = {
    [1] = function(old) -- in entries of plain fields all is text; only the fields of the event itself take text for numbers
      return { user_id = old.user_id, items = { { sku = old.sku, qty = tonumber(old.qty) } }, total = old.cents / 100 }
    end,
    [2] = function(old)
      old.customer, old.user_id = { id = old.user_id }, nil
      return old
    end,
  },
}
