require "spec.support.runtime"
local testing = require "tidemill.testing"

describe("examples/rules/personalization.lua", function()
  local kit

  local function view(category, session)
    kit:event("browse", { type = "view", user_id = "u1", session = session or "s1", category = category })
  end

  before_each(function()
    kit = testing.load "examples/rules/personalization.lua"
    kit:redis { ["HGETALL profile:u1"] = { books = "3", toys = "1" } }
  end)

  it("counts purchases in the visitor's profile", function()
    kit:event("purchase", { type = "purchase", user_id = "u1", session = "s1", category = "toys" })
    assert.same({ { command = { "HINCRBY", "profile:u1", "toys", "1" } } }, kit:effects())
  end)

  it("shows the favourite to who looks elsewhere, once a session", function()
    view "garden"
    assert.same({
      { stream = "recommendations", fields = { user_id = "u1", session = "s1", category = "books" } },
    }, kit:effects())
    view "shoes"
    assert.same({}, kit:effects())
    view("shoes", "s2")
    assert.equal(1, #kit:effects())
  end)

  it("leaves who looks at the favourite alone", function()
    view "books"
    assert.same({}, kit:effects())
  end)

  it("has no favourite before the second purchase", function()
    kit:redis { ["HGETALL profile:u1"] = { books = "1" } }
    view "garden"
    assert.same({}, kit:effects())
  end)
end)
