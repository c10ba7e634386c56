-- Coverage of rules: which lines can run, and which did.
local runtime = require "spec.support.runtime"
local files = require "spec.support.files"
local coverage = require "tidemill.testing_coverage"
local testing = require "tidemill.testing"
assert(runtime)

local RULE = [[
local tidemill = require "tidemill"
local prices = require "lib.prices"

-- A comment.
local function discount(total)
  if total > 100 then
    return prices.gold
  else
    return 0
  end
end

return tidemill.rule {
  stream = "s",
  key = "k",
  on_event = function(event, ctx)
    local co = coroutine.wrap(function()
      ctx.state.d = discount(event.total)
    end)
    co()
    if event.fail then
      error "on purpose"
    end
    for n = 1, event.times or 0 do
      ctx.emit("o", {
        n = n,
      })
    end
  end,
  on_timer = function(name, ctx)
    ctx.emit("o", {})
  end,
}
]]

local folder = files.folder_with

describe("the lines that can run", function()
  local function lines(text) return table.concat(coverage.lines_that_can_run(text), " ") end

  it("are those with something to do, in all functions", function()
    assert.equal("1 2 6 7 9 13 17 18 20 21 22 24 25 26 31", lines(RULE))
  end)

  it("are none of comments, ends and brackets", function()
    assert.equal("", lines "-- nothing\n\n--[[ more\n]]\n")
    assert.equal("2", lines "local function f()\n  return 1\nend -- of f\n")
  end)

  it("are none of what does not compile", function() assert.equal("", lines "local local") end)
end)

describe("coverage", function()
  local path = folder { ["a.lua"] = RULE,
    ["lib/prices.lua"] = "local p = {}\np.gold = 10\nfunction p.unused()\n  return 1\nend\nreturn p\n",
    ["b.lua"] = "return {\n  stream = 's',\n  on_event = function(e)\n    local x = e\n    return x\n  end,\n}\n" }

  it("is not counted unless it is wanted", function()
    testing.load(path .. "/a.lua"):event("s", { k = 1, total = 500 })
    assert.same({}, coverage.rows {})
  end)

  it("counts over all kits, coroutines and failing handlers, and names what was missed", function()
    coverage.begin()
    local function row(name)
      for _, one in ipairs(coverage.rows { path .. "/b.lua" }) do
        if one.file == path .. "/" .. name then return one end
      end
    end
    testing.load(path .. "/a.lua"):event("s", { k = 1, total = 5 })
    assert.same({ file = path .. "/a.lua", lines = 15, covered = 10, missed = "7, 22, 25-31" }, row "a.lua")
    testing.load(path .. "/a.lua"):event("s", { k = 1, total = 500, fail = true })
    assert.same({ file = path .. "/a.lua", lines = 15, covered = 12, missed = "25-31" }, row "a.lua")
    assert.same({ file = path .. "/lib/prices.lua", lines = 5, covered = 4, missed = "4" }, row "lib/prices.lua")
    assert.same({ file = path .. "/b.lua", lines = 3, covered = 0, missed = "1-5" }, row "b.lua")
    testing.load(path):event("s", { k = 1, total = 5, times = 1 })
    assert.same({ file = path .. "/b.lua", lines = 3, covered = 3, missed = "" }, row "b.lua")
    testing.load { ["c.lua"] = "return { stream = 's', on_event = print }" } -- no file, no row
    assert.equal(3, #coverage.rows { path .. "/b.lua" })
  end)

  it("still stops a rule that is over its time, and lets one take as long as counting does", function()
    local kit = testing.load({ ["a.lua"] = "return { stream = 's', on_event = function(e) while e.n do\n local x = 1 end end }" },
      { limits = { rule_ms = 3 } })
    kit:event("s", { n = 1 })
    assert.equal("time", kit:letters()[1].reason)
    assert.is_nil((debug.gethook()))
  end)

  it("is a table that lines up", function()
    assert.equal([[
FILE          LINES  COVERED         MISSED
a.lua           120      118   98 %  14-17, 22
lib/long.lua      0        0      -
z.lua             7        7  100 %
all             127      125   98 %
]], coverage.table { { file = "a.lua", lines = 120, covered = 118, missed = "14-17, 22" },
      { file = "lib/long.lua", lines = 0, covered = 0, missed = "" }, { file = "z.lua", lines = 7, covered = 7, missed = "" } })
  end)
end)
