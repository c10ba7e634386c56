-- Crashing the VM: text that has taken Lua, LuaJIT, or an engine around it down, and odd values where the engine expects others.
local attack = require "spec.support.attack"
local testing = require "tidemill.testing"
local rule, run = attack.rule, attack.run

describe("crashing the VM:", function()
  it("an error may be any value", function()
    for value, said in pairs {
      ["'text', 0"] = "text", ["42"] = "42", ["nil"] = "nil value", ["{}"] = "table value", ["true"] = "boolean value",
      ["print"] = "function value",
      ["ctx"] = "table value", ["ctx.redis"] = "table value", ["coroutine.create(print)"] = "thread value",
      ["require('tidemill').null"] = "cdata value", ["event"] = "table value",
      ["setmetatable({}, { __tostring = function() error 'inner' end })"] = "table value",
      ["setmetatable({}, { __tostring = function() return {} end })"] = "table value",
      ["setmetatable({}, { __index = error, __eq = error, __metatable = 'unwind' })"] = "table value",
      ["('x'):rep(1e6), 0"] = "xxx",
    } do
      local kit = testing.load { ["rule.lua"] = rule(("ctx.emit('no', {}) error(%s)"):format(value)) }
      kit:event("s", {})
      local letter = kit:letters()[1]
      assert.equal("error", letter.reason)
      assert.matches(said, letter.message, 1, true)
      assert.is_true(#letter.message < 5000)
      assert.same({}, kit:effects())
    end
  end)

  it("texts that are none do not hurt ctx", function()
    for _, odd in ipairs { "{}", "setmetatable({}, { __tostring = function() return {} end })", "nil", "print", "ctx", "1LL" } do
      local _, letter = run((("print(X) ctx.log.info(X) ctx.reason(X) ctx.dead(X)"):gsub("X", odd)))
      assert.equal("dead", letter.reason)
    end
    local _, letter = run "ctx.dead(setmetatable({}, { __tostring = function() error 'inner' end }))"
    assert.same({ "error", "inner" }, { letter.reason, letter.message:match "inner" })
  end)

  it("errors in error handlers, and without end, are a letter", function()
    for _, body in ipairs {
      "xpcall(error, function() error 'in the handler' end)",
      "local function f(e) local ok = xpcall(error, f, e) return ok end f()",
      "local function f() return 1 + f() end f()",
      "local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) return 1 + t[k] end return t.x",
    } do
      local kit = testing.load { ["rule.lua"] = rule("ctx.emit('no', {}) " .. body), ["witness.lua"] = rule "ctx.emit('witness', {})" }
      kit:event("s", {})
      assert.equal("rule", kit:letters()[1].rule)
      assert.same({ { stream = "witness", fields = {} } }, kit:effects())
    end
  end)

  it("builtins as handlers do nothing that a rule could not do", function()
    for _, f in ipairs { "error", "print", "pcall", "setmetatable", "rawset", "next", "coroutine.yield", "coroutine.wrap", "table.insert",
      "require", "collectgarbage", "tostring", "coroutine.resume", "xpcall", "assert", "math.random", "getmetatable" } do
      local kit = testing.load {
        ["rule.lua"] = ("return { stream = 's', on_event = %s }"):format(f), ["witness.lua"] = rule "ctx.emit('witness', {})" }
      kit:event("s", { a = 1 })
      kit:event("s", { a = 1 })
      assert.equal(2, #kit:effects())
    end
  end)

  it("a builtin may be a filter or a key, too", function()
    for _, head in ipairs { "when = print,", "key = tostring,", "key = error,", "when = coroutine.yield," } do
      local kit = testing.load { ["rule.lua"] = rule("", "", head), ["witness.lua"] = rule "ctx.emit('witness', {})" }
      kit:event("s", {})
      assert.equal(1, #kit:effects())
    end
  end)
end)

-- Text that has taken an engine down, or is near to what has: from the reports of LuaJIT, of Redis' scripting (CVE numbers), and of
-- other sandboxes. Each with what must come of it.
local DEEP = { "error", "memory", "time", "hang", "crash" } -- which one comes first depends on the machine
local CAUGHT = { "none", "error", "memory", "time", "hang", "crash" } -- and where the rule catches what it can
local STORM = {
  { "bit.tohex(65535, -2147483648)" },                                  -- CVE-2024-31449: negated, still negative
  { "unpack({ 1, 2, 3 }, -2, 2147483647)", "error" },                   -- CVE-2025-46817: a count that overflows
  { "unpack({}, 1, 1e7)", "error" },                                    -- more than fit on the stack
  { "unpack({}, -2 ^ 31, 2 ^ 31 - 1)", "error" },
  { "local function f(p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, ...) return ... end for n = 1, 1e3 do f(unpack({}, 1, n % 200)) end" },
  { "select(-2 ^ 31, 1)", "error" }, { "select('#', unpack({}, 1, 7000))" },
  { "string.byte('x', -2 ^ 31, 2 ^ 31 - 1)" }, { "string.char(unpack({ 256 }))", "error" },
  { "('%99999d'):format(1)", "error" }, { "('%99.99f'):format(1e308)" }, { "('%n'):format(1)", "error" },
  { "('%s%s'):format(1)", "error" }, { "('x'):gsub('x', '%9')", "error" }, { "string.rep('x', 2 ^ 53)" },
  { "for _, p in ipairs { '%', '%f', '[', '[^', '[%', '[a-', '%b', '%bx', '(', ')', '%1', '(%1)', '[]', '%f[', '[\\0-', '%z' } do "
    .. "for _, f in ipairs { string.find, string.match, string.gsub } do pcall(f, 'x()%[', p, 'r') end end" },
  { "('x'):find(('('):rep(33))", "error" }, { "(('a'):rep(1e6)):find(('a?'):rep(1e6))", "error" }, -- LuaJIT's own limit of depth
  { "setmetatable({}, { __call = pcall })()" },                         -- LuaJIT 1048
  { "local t = setmetatable({}, { __newindex = pcall, __call = type }) local function p() t[t] = t end pcall(p) p(1, 2)" }, -- 1403
  { "local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x", "error" },
  { "local t = setmetatable({}, {}) getmetatable(t).__newindex = t t.x = 1", "error" },
  { "local t = setmetatable({}, { __concat = function(a, b) return a .. b end }) return t .. t", "error" },
  { "local t = setmetatable({}, { __lt = function(a, b) return a < b end }) return t < t", "error" },
  { "local function f() return 1 + f() end f()", "error" },
  { "local function f(...) return f(1, ...) end f()", { "error", "time" } },
  { "local function f() f() end xpcall(f, f)", "error" },               -- 1152: a handler without room for itself
  { "local function e() return xpcall(error, e) end e()", CAUGHT },       -- 603
  { "local function f() return pcall(f) end f()", CAUGHT },
  { "table.sort({ 3, 1, 2, 5, 4 }, function() return true end)", { "none", "error" } },
  { "local t = {} for i = 1, 100 do t[i] = i end table.sort(t, function(a, b) t[50] = nil return a < b end)", "error" },
  { "local t = {} for i = 1, 100 do t[i] = i end for k in pairs(t) do t[k] = nil t[k + 1000] = 1 end", { "none", "error" } },
  { "next({}, 'nokey')", "error" }, { "next({}, 0 / 0)", "error" }, { "rawset({}, 0 / 0, 1)", "error" },
  { "local x = -9223372036854775808LL / -1LL, -9223372036854775808LL % -1LL, 1LL / 0LL, 1ULL % 0ULL" }, -- SIGFPE in C
  { "(1i).re = 5", "error" }, { "local x = (1i)[-1e9], (1i)[1e9], (1i)['im']" }, { "(1LL)()", "error" }, { "return 1LL + nil", "error" },
  { "return require('tidemill').int64(1) + require('tidemill').null", "error" },
  { "coroutine.wrap(function() return coroutine.resume(coroutine.running()) end)()" },
  { "local co co = coroutine.wrap(function() return co() end) co()", "error" },
  { "local co = coroutine.create(error) coroutine.resume(co) coroutine.resume(co) coroutine.status(co)" },
  { "coroutine.wrap(coroutine.wrap)()", "error" }, { "coroutine.resume(nil)", "error" },
  { "math.ldexp(1, 1e9)" }, { "math.fmod(1, 0)" }, { "tonumber('1e' .. ('9'):rep(1e6))" }, { "tonumber('z', 37)", "error" },
  { "error(setmetatable({}, { __index = error, __tostring = error, __metatable = 'unwind' }))", "error" },
  { "ctx.redis[('a'):rep(1e6)] 'x'", "error" }, { "local c = ctx.redis['get\\r\\nflushall']", "error" },
  { "print(('x'):rep(1e7))" }, { "error(('x'):rep(1e7))", "error" }, { "ctx.dead(('x'):rep(1e7))", "dead" },
  -- Recursion through C, each level of which takes C stack: kilobytes in gsub, hundreds of bytes in a coroutine.
  { "local function f() return (('a'):gsub('.', f)) end f()", DEEP },
  { "local function f() table.sort({ 2, 1 }, f) end f()", DEEP },
  { "local t = setmetatable({}, {}) getmetatable(t).__tostring = function() return tostring(t) end tostring(t)", DEEP },
  { "local function f() return (('a'):gsub('.', setmetatable({}, { __index = f }))) end f()", DEEP },
  { "local function f() for _ in coroutine.wrap(f) do end end f()", DEEP }, -- 619, 1452
  { "local function f() coroutine.resume(coroutine.create(f)) end f()", CAUGHT },
}

describe("crashing the VM, in the engine:", function()
  it(("%d texts end in a letter or in nothing, and no rule beside them notices"):format(#STORM), function()
    attack.storm(STORM, { limits = { rule_ms = 250, hard_ms = 1000 }, lease_ms = 3000 })
  end)

  it("control: recursion through C takes plain LuaJIT down", function()
    for _, body in ipairs { "local function f() return (('a'):gsub('.', f)) end pcall(f)",
      "local function f() for _ in coroutine.wrap(f) do end end pcall(f)" } do
      assert.same({ signal = 11 }, attack.alone(body, 20), body)
    end
  end)
end)
