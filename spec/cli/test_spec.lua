-- `tidemill test`: the real command over projects made here.
local files = require "spec.support.files"
local program = require "spec.support.program"

local RULE = [[
local tidemill = require "tidemill"
local gold = require "lib.gold"

return tidemill.rule {
  stream = "orders",
  key = "user_id",
  on_event = function(event, ctx)
    ctx.state.total = (ctx.state.total or 0) + event.total
    if event.total == 13 then
      while true do
      end
    end
    if gold.is_gold(ctx.state.total) then
      ctx.emit("offers", { user_id = ctx.key, percent = 10 })
    end
  end,
}
]]
local GOLD = "local gold = {}\nfunction gold.is_gold(total)\n  return total > 100\nend\nreturn gold\n"

local SPEC = [[
local testing = require "tidemill.testing"
local half = require "spec.half"

describe("pricing", function()
  local kit
  before_each(function() kit = testing.load "rules/pricing.lua" end)

  it("gives gold customers an offer", function()
    kit:event("orders", { user_id = "u1", total = 120 })
    assert.same({ { stream = "offers", fields = { user_id = "u1", percent = 10 } } }, kit:effects())
  end)

  it("waits for more than half of it", function()
    kit:event("orders", { user_id = "u1", total = half })
    assert.same({}, kit:effects())
  end)
end)
]]
local CASE = '{"name":"gold","stream":"orders","event":{"user_id":"u1","total":120},'
  .. '"effects":[{"stream":"offers","event":{"user_id":"u1","percent":%d}}]}\n'

-- A project; `more` are files besides, or false for one that it does not have.
local function project(more)
  local all = { ["rules/pricing.lua"] = RULE, ["rules/lib/gold.lua"] = GOLD, ["spec/pricing_spec.lua"] = SPEC,
    ["spec/half.lua"] = "return 50", ["spec/pricing.cases.jsonl"] = CASE:format(10) }
  for name, text in pairs(more or {}) do all[name] = text end
  return files.folder_with(all)
end

-- Runs in the project's own folder.
local function run(path, ...)
  local code, out, err = program.run({ "test", ... }, { folder = path })
  return code, out, err
end

local function last_line(out) return out:match "([^\n]*)\n$" end

describe("tidemill test", function()
  it("runs all specs and cases of a folder, and says how many passed", function()
    assert.same({ 0, "3 passed, 0 failed\n", "" }, { run(project()) })
  end)

  it("takes a folder, from anywhere, with the settings and rules of that", function()
    local path = project { ["tidemill.lua"] = "return { limits = { effects = 1 }, rules = 'mine' }", ["mine/pricing.lua"] =
      "return { stream = 'orders', key = 'user_id', on_event = function(e, ctx) ctx.emit('offers', { user_id = e.user_id, percent = 10 }) "
      .. "if e.more then ctx.emit('offers', {}) end end }",
      ["spec/b.cases.jsonl"] = '{"stream":"orders","event":{"user_id":"u1","more":true},"letters":[{"reason":"output"}]}' }
    local away = files.temp_folder()
    assert.same({ 0, "4 passed, 0 failed\n", "" }, { run(away, path) })
    assert.same({ 0, "4 passed, 0 failed\n", "" }, { run(path) })
    assert.same({ 0, "1 passed, 0 failed\n", "" }, { run(away, path .. "/spec/b.cases.jsonl", "--config", path .. "/tidemill.lua") })
  end)

  it("takes one file", function()
    local path = project()
    assert.same({ 0, "2 passed, 0 failed\n", "" }, { run(path, "spec/pricing_spec.lua") })
    assert.same({ 0, "1 passed, 0 failed\n", "" }, { run(path, "spec/pricing.cases.jsonl") })
  end)

  it("says what failed, where and why", function()
    local code, out = run(project { ["spec/pricing.cases.jsonl"] = CASE:format(5), ["spec/half.lua"] = "return 150" })
    assert.equal(1, code)
    assert.equal([[
FAILED  spec/pricing.cases.jsonl:1: gold
    effects[1].event.percent: expected 5, got 10
1 passed, 2 failed
]], out:gsub("FAILED  spec/pricing_spec.lua.-(FAILED)", "%1"), nil)
    assert.matches("FAILED  spec/pricing_spec.lua:15: pricing waits for more than half of it\n"
      .. "    Expected objects to be the same.\n", out, 1, true)
    assert.is_nil(out:find "\27")
  end)

  it("tells broken JSON and unknown members", function()
    local code, out = run(project { ["spec/pricing.cases.jsonl"] = '{"name":"a", }\n{"name":"b","strem":"orders","event":{}}\n' })
    assert.equal(1, code)
    assert.equal([[
FAILED  spec/pricing.cases.jsonl:1:14: invalid object key (must be a string)
FAILED  spec/pricing.cases.jsonl:2: b
    unknown member `strem`; did you mean `stream`?
2 passed, 2 failed
]], out)
  end)

  it("tells a spec that does not compile, and runs the others", function()
    local code, out = run(project { ["spec/broken_spec.lua"] = "local x = = 5\n" })
    assert.equal(1, code)
    assert.matches("^FAILED  spec/broken_spec.lua:1: unexpected symbol near '='\n", out)
    assert.equal("3 passed, 1 failed", last_line(out))
  end)

  it("tells errors outside of tests, and in setup", function()
    local code, out = run(project { ["spec/a_spec.lua"] = "describe('a', function()\nerror 'early'\nend)",
      ["spec/b_spec.lua"] = "describe('b', function() before_each(function()\nlocal x = nil + 1\nend) it('c', function() end) end)" })
    assert.equal(1, code)
    assert.matches("FAILED  spec/a_spec.lua:2: a\n    early\n", out, 1, true)
    assert.matches("FAILED  spec/b_spec.lua:2: b before_each\n    attempt to perform arithmetic on a nil value\n", out, 1, true)
    assert.equal("3 passed, 2 failed", last_line(out))
  end)

  it("stops an endless loop of a rule by the limit", function()
    local code, out = run(project {
      ["spec/pricing.cases.jsonl"] = '{"name":"loop","stream":"orders","event":{"user_id":"u1","total":13}}' })
    assert.equal(1, code)
    assert.matches('FAILED  spec/pricing.cases.jsonl:1: loop\n    letters%[1%]: not expected .*'
      .. '"message":"ran longer than 50 ms %(limits.rule_ms%)"', out)
  end)

  it("tells mistakes of the rules by file and line", function()
    local code, out = run(project { ["rules/pricing.lua"] = "return {\n  strem = 'orders',\n}\n", ["spec/pricing_spec.lua"] = false })
    assert.equal(1, code)
    assert.matches("FAILED  spec/pricing.cases.jsonl:1: the rules have mistakes:\n"
      .. "    rules/pricing.lua:1: `on_event` is missing", out, 1, true)
    assert.matches("    rules/pricing.lua:2: unknown field `strem`; did you mean `stream`?\n"
      .. "        2 |   strem = 'orders',\n"
      .. "          |   ^^^^^\n", out, 1, true)
    assert.matches("\n0 passed, 1 failed\n$", out) -- once, however many cases there are
  end)

  it("fails when there is nothing", function()
    local path = files.temp_folder()
    assert.same({ 1, "", "tidemill: there is no *_spec.lua and no *.cases.jsonl below .\n" }, { run(path) })
    assert.same({ 1, "", "tidemill: there is no *_spec.lua and no *.cases.jsonl at nowhere\n" }, { run(path, "nowhere") })
    files.write_file(path .. "/a_spec.lua", "-- nothing in it\n")
    assert.same({ 1, "none of the files holds a test\n0 passed, 0 failed\n", "" }, { run(path) })
  end)

  it("passes over hidden folders, node_modules and build", function()
    local path = project { [".git/x_spec.lua"] = "error 'x'", ["node_modules/y/x_spec.lua"] = "error 'x'",
      ["build/x_spec.lua"] = "error 'x'", [".x_spec.lua"] = "error 'x'" }
    assert.same({ 0, "3 passed, 0 failed\n", "" }, { run(path) })
  end)

  it("finds files of any name, and those that links lead to, once", function()
    local path = project { ["spec/deep/quo'te \" %s_spec.lua"] = "it('a', function() end)",
      ["spec/line\nend_spec.lua"] = "it('b', function() end)" }
    os.execute(("cd %s/spec && ln -s .. up && ln -s deep twin && mv pricing.cases.jsonl ../kept && ln -s ../kept pricing.cases.jsonl")
      :format(path))
    assert.same({ 0, "5 passed, 0 failed\n", "" }, { run(path) })
  end)

  it("takes rules and libraries that links lead to, as the engine does", function()
    local path = project()
    os.execute(("cd %s && mv rules kept && mkdir rules && ln -s ../kept/pricing.lua ../kept/lib rules && ln -s . kept/lib/self")
      :format(path))
    assert.equal(0, (program.run({ "check" }, { folder = path })))
    assert.same({ 0, "3 passed, 0 failed\n", "" }, { run(path) })
  end)

  it("tells what cannot be read", function()
    local path = project()
    os.execute(("cd %s && ln -s nowhere spec/a_spec.lua && ln -s nowhere spec/b.cases.jsonl && ln -s /proc/self/mem rules/lib/mem.lua")
      :format(path))
    local code, out, err = run(path)
    assert.same({ 1, "" }, { code, err })
    assert.matches("FAILED  spec/a_spec.lua:1: cannot be read\n", out, 1, true)
    assert.matches("FAILED  spec/b.cases.jsonl:1: cannot be read\n", out, 1, true)
    assert.matches("testing.load: rules/lib/mem.lua cannot be read\n", out, 1, true)
  end)

  it("fails when a spec would end the program, or takes away what failures are told with", function()
    local code, out = run(project { ["spec/a_spec.lua"] = "it('leaves', function() os.exit(0) end)" })
    assert.same({ 1, "FAILED  spec/a_spec.lua:1: leaves\n"
      .. "    os.exit: a spec cannot end the program, all tests would end with it\n3 passed, 1 failed\n" }, { code, out })
    code, out = run(project { ["spec/a_spec.lua"] = "it('breaks', function() string.match = nil end)" })
    assert.equal(1, code, out)
  end)

  it("counts pending tests", function()
    assert.same({ 0, "3 passed, 0 failed, 2 pending\n", "" },
      { run(project { ["spec/p_spec.lua"] = "pending('later') it('now', function() pending('or later') end)" }) })
  end)

  it("refuses wrong usage", function()
    assert.equal(2, (run(project(), "a", "b")))
    local code, _, err = run(project(), "--coverag")
    assert.same({ 2, "tidemill: test has no flag --coverag; did you mean --coverage?\n" }, { code, err })
  end)

  it("runs cases without busted, and says how to get it", function()
    local path = project()
    local code, out, err = program.run({ "test" }, { folder = path, env = { LUA_PATH = "./?.lua", LUA_CPATH = "" } })
    assert.same({ 1, "" }, { code, err })
    assert.equal("FAILED  1 spec file was not run, because busted is not installed: apt-get install lua-busted, or "
      .. "luarocks install busted (for LuaJIT, as for Lua 5.1)\n1 passed, 0 failed, 1 spec file not run\n", out)
  end)

  it("keeps spec files apart", function()
    assert.same({ 0, "5 passed, 0 failed\n", "" }, { run(project {
      ["spec/a_spec.lua"] = "LEFT = 1 package.loaded['spec.half'] = 'changed' it('a', function() end)",
      ["spec/b_spec.lua"] = "it('b', function() assert.is_nil(rawget(_G, 'LEFT')) assert.equal(50, require 'spec.half') end)" }) })
  end)

  it("shows progress on a terminal, and colours", function()
    local path = project { ["spec/pricing.cases.jsonl"] = CASE:format(5) }
    local _, out = program.shell('TERM=xterm script -qec "$tidemill test" /dev/null', { folder = path })
    assert.matches("\r\27[K\27[32m1 passed\27[0m, 0 failed  spec/pricing_spec.lua", out, 1, true)
    assert.matches("\r\27[K\27[1;31mFAILED\27[0m  spec/pricing.cases.jsonl:1: gold", out, 1, true)
    assert.matches("expected \27[32m5\27[0m, got \27[31m10\27[0m", out, 1, true)
  end)
end)

describe("tidemill test --coverage", function()
  it("shows the lines of rules and libraries that no test ran, of files that none loaded, too", function()
    local path = project { ["rules/idle.lua"] = "return {\n  stream = 'x',\n  on_event = function(e)\n    return e\n  end,\n}\n",
      ["spec/pricing.cases.jsonl"] = '{"name":"none","stream":"orders","event":{"user_id":"u1","total":1}}' }
    local code, out = run(path, "--coverage")
    assert.equal(0, code)
    assert.equal([[
FILE                LINES  COVERED         MISSED
rules/idle.lua          2        0    0 %  1-4
rules/lib/gold.lua      4        4  100 %
rules/pricing.lua       8        7   87 %  10
all                    14       11   78 %

3 passed, 0 failed
]], out)
  end)

  it("counts schemas that rules share, and no specs that lie beside the rules", function()
    local path = project { ["spec/pricing_spec.lua"] = false, ["spec/pricing.cases.jsonl"] = false,
      ["rules/pricing.lua"] = "return {\n  stream = 'orders',\n  event = require 'schemas.order',\n  on_event = function() end,\n}\n",
      ["rules/pricing_spec.lua"] = "it('runs', function() require('tidemill.testing').load('rules'):event('orders', { v = 2 }) end)",
      ["rules/schemas/order.lua"] = "return require('tidemill').schema {\n  event = {},\n  upgrade = {\n"
        .. "    [1] = function(old)\n      return old\n    end,\n  },\n}\n" }
    local code, out = run(path, "--coverage")
    assert.equal(0, code, out)
    assert.matches("rules/schemas/order.lua %s+%d  %s+%d   %d%d %%  5\n", out)
    assert.is_nil(out:find("rules/pricing_spec.lua", 1, true))
    assert.equal("1 passed, 0 failed", last_line(out))
  end)

  it("counts specs and cases together", function()
    local path = project { ["spec/pricing_spec.lua"] = "local testing = require 'tidemill.testing' it('a', function() "
      .. "testing.load('rules/pricing.lua'):event('orders', { user_id = 1, total = 1 }) end)" }
    assert.matches("rules/pricing.lua       8        7   87 %  10\n", select(2, run(path, "--coverage")), 1, true)
    assert.matches("rules/pricing.lua       8        6   75 %  10, 14\n",
      select(2, run(path, "--coverage", "spec/pricing_spec.lua")), 1, true)
  end)

  it("leaves the outcome as it is", function()
    local code, out = run(project { ["spec/pricing.cases.jsonl"] = CASE:format(5) }, "--coverage")
    assert.equal(1, code)
    assert.equal("2 passed, 1 failed", last_line(out))
  end)
end)
