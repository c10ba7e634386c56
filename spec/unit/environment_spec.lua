-- What rules have of Lua, and that it works as Lua's. Attacks on it are in spec/sandbox.
local runtime = require "spec.support.runtime"
local environment = require "tidemill.environment"
local testing = require "tidemill.testing"

-- Runs code in an environment of its own; returns what it returns.
local function run(code, printed)
  local env = environment.create(function(name) return "module " .. name end, function(text) table.insert(printed or {}, text) end)
  return assert(load(code, "=code", "t", env))()
end

-- What a handler emitted to "o", one table per event.
local function emitted(body, events, options)
  local kit = testing.load({ ["r.lua"] = "return { stream = 's', key = 'k', on_event = function(event, ctx) " .. body .. " end }" },
    options)
  kit:redis { ["GET x"] = "1" }
  kit:events("s", events or { { k = 1 } })
  local letters = kit:letters()
  assert.same({}, letters)
  local list = {}
  for n, effect in ipairs(kit:effects()) do list[n] = effect.fields end
  return list
end

describe("the environment", function()
  it("has exactly these names", function()
    local names = {}
    for _, name in ipairs { "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "print", "rawequal", "rawget", "rawset",
      "require", "select", "setmetatable", "tonumber", "tostring", "type", "unpack", "xpcall", "collectgarbage", "math", "string", "table",
      "bit", "coroutine" } do
      names[name] = true
      assert.is_not_nil(run("return " .. name), name)
    end
    for name in pairs(_G) do
      if not names[name] and name:find "^[%a_][%w_]*$" then
        local ok, why = pcall(run, "return " .. name)
        assert.is_false(ok, name)
        assert.equal(("code:1: unknown global '%s'"):format(name), why)
      end
    end
  end)

  it("has no functions in its libraries that are not named", function()
    for library, expected in pairs {
      string = "byte char find format gmatch gsub len lower match rep reverse sub upper",
      table = "concat insert maxn move remove sort", coroutine = "create isyieldable resume running status wrap yield",
      bit = "arshift band bnot bor bswap bxor lshift rol ror rshift tobit tohex",
      math = "abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min modf pi pow rad random sin sinh "
        .. "sqrt tan tanh",
    } do
      local names = {}
      for name in pairs(run("return " .. library)) do names[#names + 1] = name end
      table.sort(names)
      assert.equal(expected, table.concat(names, " "))
    end
  end)

  it("refuses globals, with the line", function()
    for code, why in pairs { ["\nx = 1"] = "code:2: writing the global 'x'", ["\n\nfunction f() end"] = "code:3: writing the global 'f'",
      ["print = nil"] = "code:1: writing the global 'print'", ["return nosuch"] = "code:1: unknown global 'nosuch'",
      ["nosuch()"] = "code:1: unknown global 'nosuch'" } do
      local ok, said = pcall(run, code)
      assert.is_false(ok)
      assert.equal(why, said:sub(1, #why))
    end
  end)

  it("gives each its own libraries", function()
    run "string.rep = 5 table.concat = nil math.pi = 3"
    assert.equal("aa", run "return string.rep('a', 2)")
    assert.equal(math.pi, run "return math.pi")
    assert.is_function(table.concat)
  end)

  it("prints to the log", function()
    local printed = {}
    run("print('a', 1, nil, true, setmetatable({}, { __tostring = function() return 'own' end }))", printed)
    run("print()", printed)
    run("print(setmetatable({}, { __tostring = function() return {} end }))", printed)
    assert.same({ "a 1 nil true own", "", "(a table)" }, printed)
  end)

  it("requires what it is given", function()
    assert.equal("module x", run "return require 'x'")
  end)

  it("counts memory, and collects none", function()
    assert.is_number(run "return collectgarbage 'count'")
    for _, what in ipairs { "", "'collect'", "'stop'", "'setpause', 1" } do
      assert.has_error(function() run("return collectgarbage(" .. what .. ")") end)
    end
  end)
end)

-- Each must give the same in a rule as in plain Lua.
describe("works as Lua's own:", function()
  for _, code in ipairs {
    "pcall(error, 'x', 0)", "pcall(function(...) return ... end, 1, nil, 3)", "pcall(error)", "pcall(error, { 1 }) and 1",
    "xpcall(function(a, b) return a + b end, print, 1, 2)", "xpcall(error, function(e) return 'handled ' .. e end, 'x')",
    "xpcall(function() local x = nil + 1 end, function(e) return #e > 0 end)",
    "coroutine.resume(coroutine.create(function(a) local b = coroutine.yield(a + 1) return a + b end), 1)",
    "coroutine.resume(coroutine.create(function() error('x', 0) end))", "coroutine.wrap(function() return 1, nil, 3 end)()",
    "pcall(coroutine.wrap(function() error('x', 0) end))",
      "select('#', coroutine.resume(coroutine.create(function() return nil, nil end)))",
    "coroutine.status(coroutine.create(print))", "pcall(coroutine.resume, 5) == false", "coroutine.running() == nil",
    "coroutine.wrap(function() return type(coroutine.running()) end)()", "coroutine.wrap(function() return coroutine.isyieldable() end)()",
    "next({})", "next({ 5 })", "select('#', next({}, nil))", "rawget(rawset({}, 'a', 1), 'a')",
      "rawget(setmetatable({}, { __index = { a = 1 } }), 'a')",
    "table.concat({ 1, 2, 3 }, '-')", "(function() local t = {} table.insert(t, 1) table.insert(t, 1, 0) return #t, t[1] end)()",
    "pcall(table.insert, {}, 5, 5, 5)",
      "(function() local t = { 3, 1, 2 } table.sort(t, function(a, b) return a > b end) return t[1] end)()",
    "('x'):rep(3, ',')", "('%5.2f|%s|%q'):format(1.5, nil, 'a\\nb')", "('abc'):gsub('%w', { a = 1, b = false })", "#('x'):rep(10)",
      "getmetatable({})",
    "getmetatable(setmetatable({}, { __metatable = 'm' }))", "tostring(nil) .. tostring(1.5)", "tonumber('0x10')", "tonumber('z', 36)",
    "unpack({ 1, 2, 3 }, 2)", "select(-1, 1, 2, 3)", "math.floor(-1.5)", "bit.band(0xff, 0x0f)", "type(math.huge)", "1 / 0",
    "(function() local s = 0 for k, v in pairs({ 1, 2, x = 3 }) do s = s + v end return s end)()",
    "(function() local s = '' for i, v in ipairs({ 'a', 'b', nil, 'd' }) do s = s .. v end return s end)()",
    "(function() local n = 0 for w in ('a b c'):gmatch('%a') do n = n + 1 end return n end)()",
    "pcall(setmetatable, setmetatable({}, { __metatable = 1 }), {}) == false", "pcall(pairs, nil) == false",
  } do
    it(code, function()
      local function list(...) return { n = select("#", ...), ... } end
      assert.same(list(assert(loadstring("return " .. code))()), list(run("return " .. code)))
    end)
  end

  it("a generator that is wrapped", function()
    assert.same({ 1, 2, 3 }, run [[
      local list = {}
      for v in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) do list[#list + 1] = v end
      return list]])
  end)

  it("status of coroutines within one another", function()
    assert.equal("running normal suspended dead", run [[
      local a, b, seen
      a = coroutine.create(function()
        b = coroutine.create(function() seen = coroutine.status(b) .. " " .. coroutine.status(a) coroutine.yield() end)
        coroutine.resume(b)
        seen = seen .. " " .. coroutine.status(b)
        coroutine.resume(b)
        seen = seen .. " " .. coroutine.status(b)
      end)
      coroutine.resume(a)
      return seen]])
  end)
end)

describe("math.random", function()
  it("draws what Lua's does", function()
    for _, fields in ipairs(emitted([[
      local low, high, unit = math.random(5), math.random(-3, 3), math.random()
      assert(low >= 1 and low <= 5 and low % 1 == 0 and high >= -3 and high <= 3 and unit >= 0 and unit < 1)
      assert(not pcall(math.random, 0) and not pcall(math.random, 2, 1) and not pcall(math.random, "x", {}))
      ctx.emit("o", { one = math.random(1), same = math.random(7, 7) })]], { { k = 1 }, { k = 2 }, { k = 3 } })) do
      assert.same({ one = 1, same = 7 }, fields)
    end
  end)

  it("spreads evenly", function()
    local counts = emitted([[
      local counts = {}
      for i = 1, 10 do counts[i] = 0 end
      for _ = 1, 10000 do local n = math.random(10) counts[n] = counts[n] + 1 end
      ctx.emit("o", { counts = counts })]])[1].counts
    for i = 1, 10 do assert.is_true(counts[i] > 850 and counts[i] < 1150, i .. ": " .. counts[i]) end
  end)

  it("draws the same for the same event, and others for others", function()
    local body = "ctx.emit('o', { r = math.random() })"
    local function draws(options, prefix)
      local list = {}
      for n, fields in ipairs(emitted((prefix or "") .. body, { { k = 1 }, { k = 2 }, { k = 1 }, { k = 3 } },
        options)) do list[n] = fields.r end
      return list
    end
    local first = draws()
    assert.same(first, draws())
    assert.same(first, draws { batch_events = 1 })
    assert.same(first, draws { cold = true })
    assert.same(draws({}, "local s = ctx.state "), draws({ cold = true }, "local s = ctx.state "))
    local different = {}
    for _, r in ipairs(first) do different[r] = true end
    local count = 0
    for _ in pairs(different) do count = count + 1 end
    assert.equal(4, count)
    assert.not_same(first, draws({}, "local unused = 1 ")) -- another version of the rule
  end)

  it("goes on behind a lookup where it was", function()
    local plain = emitted "local a, b = math.random(), math.random() ctx.emit('o', { a = a, b = b }) if nil then ctx.redis.get 'x' end"
    assert.is_true(plain[1].a ~= plain[1].b)
    local body = "local a = math.random() %s local b = math.random() ctx.emit('o', { a = a, b = b, c = math.random() })"
    local events = { { k = 1 }, { k = 2 }, { k = 3 } }
    local asking = emitted(body:format "ctx.redis.get 'x'", events)
    assert.same(asking, emitted(body:format "ctx.redis.get 'x'", events, { batch_events = 1 }))
    for _, fields in ipairs(asking) do assert.is_true(fields.a ~= fields.b and fields.b ~= fields.c) end
  end)

  it("is not to be had outside of a handler", function()
    local ok, why = pcall(testing.load, { ["r.lua"] = "\nlocal x = math.random()" })
    assert.is_false(ok)
    assert.matches("r.lua:2: math.random is only valid inside a handler", why)
  end)

  it("draws for when and key on their own", function()
    local seed = runtime.seed()
    assert.is_number(seed)
    local text = "return { stream = 's', key = function() return math.random(3) end, when = function(e) return math.random() < 0.5 end, "
      .. "on_event = function(e, ctx) ctx.emit('o', { n = e.n, key = ctx.key, r = math.random() }) end }"
    local function draws(options)
      local kit = testing.load({ ["r.lua"] = text }, options)
      local events = {}
      for n = 1, 200 do events[n] = { n = n } end
      kit:events("s", events)
      return kit:effects()
    end
    local all = draws()
    assert.is_true(#all > 60 and #all < 140)
    assert.same(all, draws { batch_events = 3, cold = true })
    local small = 0
    for _, effect in ipairs(all) do small = small + (effect.fields.r < 0.5 and 1 or 0) end
    assert.is_true(small > #all * 0.25 and small < #all * 0.75) -- not the number that `when` let pass
  end)
end)
