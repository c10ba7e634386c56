-- examples/versions: orders of three versions, as its author would specify them.
require "spec.support.runtime"
local testing = require "tidemill.testing"

describe("examples/versions/receipts.lua", function()
  local kit

  before_each(function()
    kit = testing.load "examples/versions/receipts.lua"
  end)

  local V1 = { user_id = "u1", sku = "a", qty = 2, cents = 1999 }
  local V2 = { v = 2, user_id = "u1", items = { { sku = "a" }, { sku = "b", qty = 3 } }, total = 25, currency = "USD" }
  local V3 = { v = 3, customer = { id = "u1", name = "Ada" }, items = { { sku = "c", count = 1 } }, total = 5 }

  it("takes orders of all versions for what they are", function()
    kit:events("order", { V1, V2, V3, V1 })
    assert.same({}, kit:letters())
    local receipts = {}
    for n, effect in ipairs(kit:effects()) do
      receipts[n] = effect.fields
    end
    assert.same({
      { customer = "u1", order = 1, total = 19.99, currency = "EUR", lines = 1 },
      { customer = "u1", order = 2, total = 25, currency = "USD", lines = 2 },
      { customer = "u1", order = 3, total = 5, currency = "EUR", lines = 1 },
      { customer = "u1", order = 4, total = 19.99, currency = "EUR", lines = 1 },
    }, receipts)
  end)

  it("takes the oldest as plain fields, too", function()
    kit:event("order", V1, { codec = "fields" })
    assert.equal(19.99, kit:effects()[1].fields.total)
  end)

  it("keeps what it cannot take, with the place", function()
    kit:event("order", { v = 3, customer = { id = "u1" }, items = { { sku = "a" }, { count = 1 } }, total = 5 })
    kit:event("order", { v = 3, customer = { id = "u1" }, items = {}, total = 5, currency = "GBP" })
    kit:event("order", { v = 4 })
    kit:event("order", { user_id = "u1" })
    local letters = kit:letters()
    assert.same({ "schema", "field 'items[2].sku' must be a string, it is missing" }, { letters[1].reason, letters[1].message })
    assert.same({ "schema", [[field 'currency' must be one of "EUR", "USD", it is a string ("GBP")]] },
      { letters[2].reason, letters[2].message })
    assert.same({ "upgrade", "upgrade" }, { letters[3].reason, letters[4].reason })
    assert.matches("^schemas/order.lua:15: attempt to perform arithmetic on field 'cents'", letters[4].message)
    assert.equal("schemas/order.lua:15: in upgrade[1]", letters[4].traceback)
  end)
end)
