-- decision_pack.lua: what is packed in C in the engine, and in Lua in the test kit, is the same.
local files = require "spec.support.files"
local process = require "spec.support.process"

-- Runs events of all sorts with every one of them recorded, and prints the records' bytes, but for the time taken. (Maps have one field:
-- the order of several differs from process to process.)
local PROGRAM = [[
package.path = "src/runtime/?.lua;" .. package.path
local ffi = require "ffi"
local library = arg[1] == "c" and ffi.load(os.getenv "TIDEMILL_LIB" or "build/release/libtidemill.so", true) -- kept, or it would be closed
local testing = require "tidemill.testing"
local is_c = pcall(function() return ffi.C.pack_effect end)
local kit = testing.load({
  ["a.lua"] = [=[return { stream = "s", key = "k", when = { kind = { "add", "pay" } }, on_event = function(event, ctx)
    local kept = ctx.state.v or { 0, "" }
    if event.n > 0 then ctx.state.v = { kept[1] + event.n, ("x"):rep(event.blob or 0) } end
    if event.drop then ctx.state = nil end
    for n = 1, event.n do ctx.emit(("out"):rep(event.long or 1), { v = { n, ("t"):rep(event.size or 3) } }) end
    if event.command then ctx.redis.rpush("list", unpack(event.command)) end
  end }]=],
  ["b.lua"] = [=[return { stream = "s", on_event = function(event, ctx)
    if event.n % 2 == 1 then ctx.emit("jsons", { a = { 1, "\0", false } }) ctx.redis.incr("n") end
  end }]=],
}, { record = 1, outputs = { jsons = { codec = "json" } } })
kit.kernel.cpu_us = function() return 0 end
local write = kit.host.functions.decision
kit.host.functions.decision = function(c, i, bytes, len, ...)
  print((ffi.string(bytes, len):gsub("[^%w]", function(b) return ("\\%02x"):format(b:byte()) end)))
  return write(c, i, bytes, len, ...)
end
local events = {
  { k = "x", kind = "add", n = 1 }, { k = "x", kind = "other", n = 1 }, { k = "x", kind = "pay", n = 0 },
  { k = "x", kind = "add", n = 3, drop = true }, { k = ("y"):rep(2000), kind = "add", n = 15 }, { k = 5, kind = "add", n = 16 },
  { k = "z", kind = "add", n = 20, size = 300 }, { k = "z", kind = "add", n = 21 }, { k = "z", kind = "add", n = 40, long = 500 },
  { k = "z", kind = "add", n = 2, size = 9000 }, { k = "w", kind = "add", n = 1, blob = 70 }, { k = "w", kind = "add", n = 1, blob = 9000 },
  { k = "w", kind = "add", n = 0, command = { "a", ("b"):rep(3000), "\0\255" } }, { n = 1 }, { k = {}, kind = "pay", n = 1 },
  { k = "v", kind = "add", n = 0, command = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21 } },
}
kit:events("s", events)
for _, event in ipairs(events) do kit:event("s", event) end
io.stderr:write(tostring(is_c))
]]

describe("records of decisions", function()
  it("are the same bytes, packed in C or in Lua", function()
    local path = files.temp_folder() .. "/program.lua"
    files.write_file(path, PROGRAM)
    local function run(how)
      local code, out, err = process.run { "luajit", "-joff", path, how, env = { LD_PRELOAD = os.getenv "LD_PRELOAD" } }
      assert.equal(0, code, err)
      assert.equal(tostring(how == "c"), err)
      return out
    end
    local in_lua = run "lua"
    assert.is_true(select(2, in_lua:gsub("\n", "")) == 32, in_lua)
    assert.equal(in_lua, run "c")
  end)
end)
