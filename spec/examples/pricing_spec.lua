require "spec.support.runtime"
local testing = require "tidemill.testing"

describe("examples/rules/pricing.lua", function()
  local kit

  local function buy(fields)
    kit:event("purchase", {
      type = "purchase", user_id = fields.user_id or "u1", sku = "sku-1", price = fields.price or 10, qty = fields.qty or 1,
      segment = fields.segment,
    })
  end

  before_each(function()
    kit = testing.load "examples/rules/pricing.lua"
  end)

  it("offers gold and silver customers their discount", function()
    buy { segment = "gold", price = 20, qty = 2 }
    buy { segment = "silver", user_id = "u2" }
    local effects = kit:effects()
    assert.equal(2, #effects)
    assert.equal("offers", effects[1].stream)
    assert.equal(0.10, effects[1].fields.discount)
    assert.equal(40, effects[1].fields.spent)
    assert.equal("u2", effects[2].fields.user_id)
    assert.equal(0.05, effects[2].fields.discount)
  end)

  it("offers nothing to others before they are loyal", function()
    buy { price = 250 }
    assert.same({}, kit:effects())
    buy { price = 250 }
    local effects = kit:effects()
    assert.equal(1, #effects)
    assert.equal(0.02, effects[1].fields.discount)
    assert.same({ spent = 500 }, kit:state("pricing", "u1"))
  end)

  it("looks at nothing but purchases", function()
    kit:event("purchase", { type = "refund", user_id = "u1" })
    assert.same({}, kit:effects())
    assert.is_nil(kit:state("pricing", "u1"))
  end)

  it("sends a purchase without a price to the dead letters", function()
    kit:event("purchase", { type = "purchase", user_id = "u1", qty = 1 })
    local letters = kit:letters()
    assert.equal(1, #letters)
    assert.equal("schema", letters[1].reason)
    assert.truthy(letters[1].message:find("price", 1, true))
  end)
end)
