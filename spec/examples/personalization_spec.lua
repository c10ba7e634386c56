require "spec.support.runtime"
local testing = require "tidemill.testing"

local function view(category, user)
  return { type = "view", user_id = user or "u1", sku = "sku-1", category = category, price = 10, segment = "basic" }
end

local function purchase(category, qty)
  return { type = "purchase", user_id = "u1", sku = "sku-1", category = category, price = 10, qty = qty }
end

describe("examples/rules/personalization.lua", function()
  local kit

  before_each(function()
    kit = testing.load "examples/rules/personalization.lua"
  end)

  it("keeps a profile of what was bought", function()
    kit:event("purchase", purchase("shoes", 2))
    kit:event("purchase", purchase "books")
    assert.same({
      { command = { "HINCRBY", "profile:u1", "shoes", "2" } },
      { command = { "HINCRBY", "profile:u1", "books", "1" } },
    }, kit:effects())
  end)

  it("recommends the favourite category at every third view", function()
    kit:redis { ["HGETALL profile:u1"] = { shoes = 2, books = 1, music = 2 } }
    kit:events("browse", { view "toys", view "toys" })
    assert.same({}, kit:effects())
    kit:event("browse", view "garden")
    assert.same({ { stream = "recommendations", fields = {
      user_id = "u1", category = "music", bought = 2, instead_of = "garden" } } }, kit:effects())
    kit:events("browse", { view "toys", view "toys" })
    assert.same({}, kit:effects())
  end)

  it("recommends nothing to strangers, nor what is being looked at", function()
    local asked = {}
    kit:redis(function(argv)
      asked[#asked + 1] = table.concat(argv, " ")
      return argv[2] == "profile:u1" and { toys = "3" } or {}
    end)
    for _ = 1, 3 do
      kit:event("browse", view("toys", "u1"))
      kit:event("browse", view("toys", "u2"))
    end
    assert.same({ "HGETALL profile:u1", "HGETALL profile:u2" }, asked)
    assert.same({}, kit:effects())
  end)

  it("begins to count again with the next visit", function()
    kit:redis { ["HGETALL profile:u1"] = { shoes = 1 } }
    kit:events("browse", { view "toys", view "toys" })
    kit:advance "2h"
    kit:event("browse", view "toys")
    assert.same({ views = 1 }, kit:state("personalization", "u1"))
  end)

  it("keeps a refused lookup out of its way: the event goes to the dead letters", function()
    kit:redis(function() return testing.refusal "WRONGTYPE Operation against a key holding the wrong kind of value" end)
    kit:events("browse", { view "toys", view "toys", view "toys" })
    local letters = kit:letters()
    assert.equal(1, #letters)
    assert.equal("error", letters[1].reason)
    assert.matches("personalization.lua:%d+: ctx.redis.hgetall: WRONGTYPE", letters[1].message)
    assert.same({ views = 2 }, kit:state("personalization", "u1")) -- as if the third view had not been
  end)
end)
