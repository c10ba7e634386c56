require "spec.support.runtime"
local each = require "tidemill.each"

local function of(iterator, ...)
  local list = {}
  for k, v in iterator(...) do list[#list + 1] = tostring(k) .. "=" .. tostring(v) end
  table.sort(list)
  return table.concat(list, " ")
end

describe("each", function()
  it("goes through tables as Lua does", function()
    for _, t in ipairs { {}, { 1, 2, 3 }, { a = 1, b = false }, { 1, nil, 3, x = "y" }, { [0.5] = 1, [true] = 2 } } do
      assert.equal(of(pairs, t), of(each.pairs, t))
      assert.equal(next(t), each.next(t))
    end
    assert.equal(nil, each.next({ 1 }, 1))
    local metatable = setmetatable({ a = 1 }, { __pairs = function() error "never" end, __index = { b = 2 } })
    assert.equal("a=1", of(each.pairs, metatable))
  end)

  it("leaves elements out of a loop for nothing", function()
    local t = { 1, 2, 3 }
    for k in each.pairs(t) do t[k] = nil end
    assert.same({}, t)
  end)

  it("raises where Lua does", function()
    assert.has_error(function() each.pairs(nil) end, "bad argument #1 to 'pairs' (table expected, got nil)")
    assert.has_error(function() each.pairs "x" end, "bad argument #1 to 'pairs' (table expected, got string)")
    assert.has_error(function() each.next({}, "no key") end)
  end)

  -- The program of LuaJIT issue 827 in a process of its own, because it needs the JIT: with Lua's own pairs the inner loop's
  -- fate ends the outer one early. (Where LuaJIT has been mended, both are right.)
  it("never ends a loop early, as Debian's LuaJIT may", function()
    local program = [[
      local each = dofile "src/runtime/tidemill/each.lua"
      local pairs = arg[1] == "ours" and each.pairs or pairs
      local t = { 1, 2, 3, 4, 5 }
      local all = { a = t, b = t, c = t, d = t, e = t }
      local function f(...) for _ = 1, 100 do end end
      for i = 1, 100000 do
        f()
        local count = 0
        for _, v in pairs(all) do
          for _ in pairs(v) do end
          count = count + 1
        end
        if count ~= 5 then print("wrong in round " .. i) os.exit(0) end
      end
      print "right"]]
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(program)
    file:close()
    local function run(which)
      local pipe = assert(io.popen("luajit " .. path .. " " .. which .. " 2>&1"))
      local said = pipe:read "*a"
      pipe:close()
      return said
    end
    local control, ours = run "theirs", run "ours"
    os.remove(path)
    assert.equal("right\n", ours)
    if jit.version == "LuaJIT 2.1.0-beta3" then assert.matches("^wrong in round", control) end
  end)
end)
