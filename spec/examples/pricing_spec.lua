-- The rule's spec, as its author would write it. Run with: busted --lua=luajit spec/examples
require "spec.support.runtime"
local testing = require "tidemill.testing"

local function purchase(changes)
  local event = { type = "purchase", user_id = "u1", sku = "sku-1", price = 100, qty = 1, segment = "gold", currency = "EUR" }
  for name, v in pairs(changes or {}) do event[name] = v end
  return event
end

describe("examples/rules/pricing.lua", function()
  local kit

  before_each(function()
    kit = testing.load "examples/rules/pricing.lua"
  end)

  it("answers a purchase with a discount by segment", function()
    kit:event("purchase", purchase())
    kit:event("purchase", purchase { user_id = "u2", segment = "silver" })
    kit:event("purchase", purchase { user_id = "u3", segment = "basic", price = 9.99, qty = 3 })
    local function offer(user, discount, price, spent)
      return { stream = "offers", fields = {
        user_id = user, sku = "sku-1", discount = discount, price = price, spent = spent, orders = 1 } }
    end
    assert.same({ offer("u1", 0.15, 85, 100), offer("u2", 0.1, 90, 100), offer("u3", 0.05, 9.49, 29.97) }, kit:effects())
  end)

  it("adds up what a customer spends", function()
    for _ = 1, 3 do kit:event("purchase", purchase { price = 0.1 }) end
    assert.same({ spent = 0.3, orders = 3 }, kit:state("pricing", "u1"))
    assert.is_nil(kit:state("pricing", "u2"))
  end)

  it("gives more to who has spent a thousand", function()
    kit:set_state("pricing", "u1", { spent = 950, orders = 8 })
    kit:event("purchase", purchase { price = 49 })
    kit:event("purchase", purchase { price = 1 })
    local offers = kit:effects()
    assert.equal(0.15, offers[1].fields.discount)
    assert.equal(0.17, offers[2].fields.discount)
  end)

  it("begins anew after a month without a purchase", function()
    kit:event("purchase", purchase())
    kit:advance "31d"
    kit:event("purchase", purchase { price = 5 })
    assert.same({ spent = 5, orders = 1 }, kit:state("pricing", "u1"))
  end)

  it("makes no offer to a segment it does not know, but remembers what was spent", function()
    kit:event("purchase", purchase { segment = "staff" })
    assert.same({}, kit:effects())
    assert.equal("no discount for segment staff", kit:reasons()[1].reason)
    assert.equal(100, kit:state("pricing", "u1").spent)
  end)

  it("does not guess at malformed purchases", function()
    kit:event("purchase", purchase { price = "cheap" })
    kit:event("purchase", purchase { qty = 1.5 })
    local letters = kit:letters()
    assert.same({ "schema", "schema" }, { letters[1].reason, letters[2].reason })
    assert.equal([[field 'price' must be a number, it is a string ("cheap")]], letters[1].message)
    assert.is_nil(kit:state("pricing", "u1"))
  end)
end)
