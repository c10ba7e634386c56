local ffi = require "ffi"
local codec = require "spec.support.codec"
local header = require "spec.support.header"
local runtime = require "spec.support.runtime"
local C = header.load("src/rules/state.h")
local hex, big = codec.hex, codec.big

local HEAD = 15 -- of the form that the kernel writes

-- [expiry, version, state] as the kernel packs it; `state` is bytes of msgpack.
local function packed(expiry_ms, state, version)
  return "\x93\xcf" .. big(expiry_ms, 8) .. "\xce" .. big(version or 1, 4) .. state
end

-- A state of `len` bytes that says `mark`.
local function state_of(mark, len)
  local text = tostring(mark)
  return "\x81\xa1s" .. codec.head("string", #text + len) .. text .. (" "):rep(len)
end

local States = {}
States.__index = States

local function create(most_bytes)
  return setmetatable({ handle = ffi.gc(C.states_create(most_bytes), C.states_destroy) }, States)
end

function States:find(rule, key)
  local slot = codec.with_exact(key, function(copy, len) return C.states_find(self.handle, rule, copy, len) end)
  return slot ~= nil and slot or nil
end

function States:load(rule, key, bytes)
  return (codec.with_exact(bytes or "", function(copy, len)
    return C.states_load(self.handle, rule, key, #key, copy, len)
  end))
end

function States:put(slot, bytes, expiry_ms, now_ms, version)
  codec.with_exact(bytes or "", function(copy, len)
    C.states_put(self.handle, slot, copy, len, len > 0 and HEAD or 0, expiry_ms or 0, len > 0 and (version or 1) or 0, now_ms or 0)
  end)
end

function States:changes()
  local cursor, change, list = ffi.new("size_t[1]"), ffi.new("struct state_change"), {}
  while C.states_next_change(self.handle, cursor, change) do
    local len = tonumber(change.len)
    list[#list + 1] = { change.rule, ffi.string(change.key, change.key_len), len > 0 and ffi.string(change.bytes, len) or "" }
  end
  assert.is_false(C.states_next_change(self.handle, cursor, change))
  return list
end

function States:begin() C.states_begin(self.handle) end
function States:discard() C.states_discard(self.handle) end
function States:seal() C.states_seal(self.handle) end
function States:drop() C.states_drop(self.handle) end
function States:count() return tonumber(C.states_count(self.handle)) end
function States:bytes() return tonumber(C.states_bytes(self.handle)) end

-- What a slot holds, "" for no state.
local function text(slot)
  return slot.len > 0 and ffi.string(slot.bytes, slot.len) or ""
end

-- The head of `bytes`: expiry, version, length; nil when there is none.
local function head(bytes)
  local expiry, version, len = ffi.new("double[1]"), ffi.new("uint32_t[1]"), ffi.new("uint32_t[1]")
  version[0] = 77
  return codec.with_exact(bytes, function(copy, size)
    if C.state_head(copy, size, expiry, version, len) then
      return expiry[0], version[0], len[0]
    end
    assert(version[0] == 77, "a failure has touched the results")
    return nil
  end)
end

describe("the head of a packed state", function()
  it("is read in every form of a whole number", function()
    for _, case in ipairs {
      { "93 00 01 80", 0, 1, 3 }, { "93 7f 7f 80", 127, 127, 3 }, { "93 cc80 ccff 80", 128, 255, 5 },
      { "93 cdffff cd0100 80", 65535, 256, 7 }, { "93 ceffffffff ce00010000 c0", 4294967295, 65536, 11 },
      { "93 cf0000010000000005 05 80", 2 ^ 40 + 5, 5, 11 }, { "93 d30000010000000005 05 80", 2 ^ 40 + 5, 5, 11 },
      { "93 cf001fffffffffffff ceffffffff 81a16101", 2 ^ 53 - 1, 4294967295, 15 },
    } do
      assert.same({ case[2], case[3], case[4] }, { head(hex(case[1])) }, case[1])
    end
    assert.same({ 1795359845123, 9, HEAD }, { head(packed(1795359845123, "\x80", 9)) })
  end)

  it("is refused at every length that is too short", function()
    for _, whole in ipairs { hex "93 00 01 80", hex "93 ccff cd0100 80", hex "93 ce00000001 cf0000000000000001 80",
      hex "93 d30000010000000005 d30000000000000001 80", packed(2 ^ 40, "\x80") } do
      assert.is_number((head(whole)))
      for len = 0, #whole - 1 do
        assert.is_nil((head(whole:sub(1, len))), codec.to_hex(whole) .. " cut to " .. len)
      end
    end
  end)

  it("is refused when it is something else", function()
    for first = 0, 255 do
      if first ~= 0x93 then
        assert.is_nil((head(string.char(first) .. "\0\1\x80")), first)
      end
      -- As the first and as the second number.
      local is_number = first < 0x80 or first >= 0xcc and first <= 0xcf or first == 0xd3
      local number = string.char(first) .. ("\0"):rep(8)
      assert.equal(is_number, head("\x93" .. number .. "\1\x80") ~= nil, first)
      assert.equal(is_number, head("\x93\0" .. number .. "\x80") ~= nil, first)
    end
    for _, bytes in ipairs { "", "93", "dc 0003 00 01 80", "93 d3ffffffffffffffff 01 80", "93 00 d3ffffffffffffffff 80",
      "93 d38000000000000000 01 80", "93 00 cf0000000100000000 80" } do
      assert.is_nil((head(hex(bytes))), bytes)
    end
  end)

  it("is found or refused, whatever the bytes", function()
    local seed = runtime.seed()
    local draw = runtime.generator(seed)
    local found = 0
    for _ = 1, 20000 do
      local bytes = { "\x93" }
      for i = 2, draw(24) do
        local kind = draw(4)
        bytes[i] = string.char(kind == 1 and draw(256) - 1 or kind == 2 and 0xcb + draw(9) or draw(128) - 1)
      end
      local whole = table.concat(bytes)
      local _, _, len = head(whole)
      if len then
        found = found + 1
        assert.is_true(len >= 3 and len < #whole, "seed " .. seed)
      end
    end
    assert.is_true(found > 100, "seed " .. seed)
  end)
end)

describe("states", function()
  it("must be loaded first, and are there then", function()
    local s = create(1e6)
    assert.is_nil(s:find(1, "k"))
    assert.is_true(s:load(1, "k", packed(99, "\x80")))
    local slot = s:find(1, "k")
    assert.same({ packed(99, "\x80"), 99, HEAD }, { text(slot), slot.expiry_ms, slot.head })
    assert.is_nil(s:find(2, "k"))
    assert.is_nil(s:find(1, "k\0"))
    assert.is_nil(s:find(1, ""))
    assert.equal(1, s:count())
  end)

  it("of Redis having none are there, and empty", function()
    local s = create(1e6)
    assert.is_true(s:load(1, "k", nil))
    assert.same({ 0, 0, 0 }, { s:find(1, "k").len, s:find(1, "k").head, s:find(1, "k").expiry_ms })
  end)

  it("that cannot be read count as nothing", function()
    local s = create(1e6)
    for i, bytes in ipairs { "x", "\x93\0\1", "\x93\xcb\0\0\0\0\0\0\0\0\1\x80", ("\xff"):rep(100) } do
      assert.is_false(s:load(1, "k" .. i, bytes))
      assert.equal("", text(s:find(1, "k" .. i)))
    end
  end)

  it("that are there already are not loaded over", function()
    local s = create(1e6)
    s:load(1, "k", packed(0, "\x81\1\1"))
    local slot = s:find(1, "k")
    s:put(slot, packed(0, "\x81\1\2"))
    assert.is_true(s:load(1, "k", packed(0, "\x81\1\3")))
    assert.is_true(s:load(1, "k", "rubbish"))
    assert.is_true(s:load(1, "k", nil))
    assert.equal(packed(0, "\x81\1\2"), text(slot))
    assert.equal(1, s:count())
  end)

  it("take keys of any bytes and lengths", function()
    local s, keys = create(1e7), { "", "\0", "\0\0", "\0\0\0\0\0\0\0\0", "1234567", "12345678", "123456789" }
    for len = 0, 40 do
      keys[#keys + 1] = "k" .. ("x"):rep(len)
      keys[#keys + 1] = ("x"):rep(len) .. "\xff"
    end
    keys[#keys + 1] = ("long"):rep(50000)
    for i, key in ipairs(keys) do
      assert.is_nil(s:find(3, key))
      s:load(3, key, packed(0, state_of(i, 3)))
    end
    for i, key in ipairs(keys) do
      assert.equal(packed(0, state_of(i, 3)), text(s:find(3, key)))
    end
    assert.equal(#keys, s:count())
  end)

  it("list their changes in the order of the first one, each once", function()
    local s = create(1e6)
    for _, key in ipairs { "a", "b", "c", "d" } do
      s:load(7, key, key == "d" and packed(0, "\x81\1\1") or nil)
    end
    s:put(s:find(7, "b"), packed(0, "\x81\1\1"))
    s:put(s:find(7, "a"), packed(0, "\x81\1\1"))
    s:put(s:find(7, "d"), nil)
    s:put(s:find(7, "b"), packed(5, "\x81\1\2"), 5)
    s:find(7, "c")
    assert.same({ { 7, "b", packed(5, "\x81\1\2") }, { 7, "a", packed(0, "\x81\1\1") }, { 7, "d", "" } }, s:changes())
    s:seal()
    assert.same({}, s:changes())
  end)

  it("are unchanged when only the expiry differs, or when none becomes none", function()
    local s = create(1e6)
    s:load(1, "k", packed(1000, "\x81\1\1", 1))
    s:load(1, "none", nil)
    local slot = s:find(1, "k")
    s:put(slot, packed(2000, "\x81\1\1", 1), 2000, 999)
    s:put(s:find(1, "none"), nil)
    assert.same({}, s:changes())
    assert.same({ packed(1000, "\x81\1\1", 1), 1000 }, { text(slot), slot.expiry_ms })
    -- The same with a head of another length.
    s:load(1, "short", hex "93 00 01 810101")
    s:put(s:find(1, "short"), packed(0, "\x81\1\1"))
    assert.same({}, s:changes())
    s:put(slot, packed(2000, "\x81\1\1\1", 2), 2000, 999)
    assert.equal(1, #s:changes())
  end)

  it("of another version are written though their bytes are the same, and it is taken back with them", function()
    local s = create(1e6)
    s:load(1, "k", packed(1000, "\x81\1\1", 1))
    s:load(1, "none", nil)
    local slot = s:find(1, "k")
    assert.same({ 1, 0 }, { slot.version, s:find(1, "none").version })
    s:put(slot, packed(2000, "\x81\1\1", 2), 2000, 999, 2)
    assert.same({ { 1, "k", packed(2000, "\x81\1\1", 2) } }, s:changes())
    s:put(s:find(1, "none"), packed(0, "\x81\1\1", 7), 0, 999, 7)
    assert.same({ 2, 7 }, { slot.version, s:find(1, "none").version })
    s:discard()
    assert.same({ packed(1000, "\x81\1\1", 1), 1, 0 }, { text(slot), slot.version, s:find(1, "none").version })
    s:put(slot, nil)
    assert.equal(0, slot.version)
  end)

  it("that had expired are written again though their bytes are the same", function()
    local s = create(1e6)
    s:load(1, "k", packed(1000, "\x81\1\1"))
    local slot = s:find(1, "k")
    s:put(slot, packed(3000, "\x81\1\1"), 3000, 1000) -- the clock is at the expiry: expired
    assert.same({ { 1, "k", packed(3000, "\x81\1\1") } }, s:changes())
    s:seal()
    s:put(slot, packed(4000, "\x81\1\1"), 4000, 2999)
    assert.same({}, s:changes())
    s:put(slot, packed(4000, "\x81\1\1"), 4000, 3001)
    s:discard()
    assert.same({ packed(3000, "\x81\1\1"), 3000 }, { text(slot), slot.expiry_ms })
    s:put(slot, nil, 0, 5000) -- expired and cleared: the field goes
    assert.same({ { 1, "k", "" } }, s:changes())
  end)

  it("without a TTL never expire", function()
    local s = create(1e6)
    s:load(1, "k", packed(0, "\x81\1\1"))
    s:put(s:find(1, "k"), packed(0, "\x81\1\1"), 0, 2 ^ 50)
    assert.same({}, s:changes())
  end)

  it("are as before the batch after a discard, which the batch may go on from", function()
    local s = create(1e6)
    s:load(1, "a", packed(5, "\x81\1\1"))
    s:load(1, "b", nil)
    s:load(1, "c", packed(6, state_of("c", 100)))
    for round = 1, 3 do
      s:put(s:find(1, "a"), packed(7, state_of("new", 1000 * round)), 7)
      s:put(s:find(1, "b"), packed(8, "\x81\1\2"), 8)
      s:put(s:find(1, "c"), nil)
      s:put(s:find(1, "b"), nil)
      s:put(s:find(1, "c"), packed(0, "\x80"))
      s:discard()
      assert.same({}, s:changes())
      assert.same({ packed(5, "\x81\1\1"), 5, HEAD }, { text(s:find(1, "a")), s:find(1, "a").expiry_ms, s:find(1, "a").head })
      assert.equal("", text(s:find(1, "b")))
      assert.same({ packed(6, state_of("c", 100)), 6 }, { text(s:find(1, "c")), s:find(1, "c").expiry_ms })
    end
    s:put(s:find(1, "b"), packed(0, "\x81\1\3"))
    assert.equal(1, #s:changes())
    s:seal()
    s:discard() -- nothing is left to undo
    assert.equal(packed(0, "\x81\1\3"), text(s:find(1, "b")))
  end)

  it("are gone after a drop, changed or not", function()
    local s = create(1e6)
    for i = 1, 3000 do
      s:load(1, "k" .. i, packed(0, state_of(i, 10)))
      if i % 3 == 0 then s:put(s:find(1, "k" .. i), packed(0, "\x80")) end
    end
    s:drop()
    assert.same({ 0, 0 }, { s:count(), s:bytes() })
    assert.same({}, s:changes())
    assert.is_nil(s:find(1, "k3"))
    s:begin()
    s:load(1, "k3", packed(0, "\x80"))
    assert.equal(1, s:count())
  end)

  it("keep their place while the table grows under a batch", function()
    local s, slots, n = create(1e9), {}, 40000
    for i = 1, n do
      s:load(i % 5, "k" .. i, packed(0, state_of(i, 0)))
      slots[i] = s:find(i % 5, "k" .. i)
    end
    assert.equal(n, s:count())
    for i = 1, n do
      assert(s:find(i % 5, "k" .. i) == slots[i] and text(slots[i]) == packed(0, state_of(i, 0)))
    end
  end)
end)

describe("memory of states", function()
  -- What may be held after a begin, however much there was.
  local function overfill(most_bytes, count, len)
    local s = create(most_bytes)
    for i = 1, count do s:load(1, "k" .. i, packed(0, state_of(i, len))) end
    s:begin()
    return s
  end

  it("is bounded when a batch begins, whatever was touched", function()
    for _, most in ipairs { 0, 1, 10000, 200000 } do
      for _, count in ipairs { 1, 10, 700, 767, 768, 769, 5000 } do
        local s = overfill(most, count, 50)
        assert.is_true(s:bytes() <= most, ("%d bytes are held, %d allowed, %d keys"):format(s:bytes(), most, count))
      end
    end
  end)

  it("is counted as what is there", function()
    local s = create(1e9)
    local empty = s:bytes()
    assert.equal(0, empty)
    s:load(1, "k", packed(0, state_of(1, 1000)))
    local one = s:bytes()
    assert.is_true(one > 1000 and one < 1400, one)
    s:put(s:find(1, "k"), packed(0, state_of(2, 100000)))
    assert.is_true(s:bytes() > 100000 and s:bytes() < 101000)
    s:drop()
    assert.equal(0, s:bytes())
  end)

  it("keeps what is used and drops what is not", function()
    local s, hot = create(300 * 400), {}
    for i = 1, 50 do hot[i] = "hot" .. i end
    local misses = 0
    for batch = 1, 400 do
      s:begin()
      for _, key in ipairs(hot) do
        if not s:find(1, key) then
          misses = misses + 1
          s:load(1, key, packed(0, state_of(key, 100)))
        end
      end
      for i = 1, 40 do s:load(1, batch .. ":" .. i, packed(0, state_of(i, 100))) end
      s:seal()
    end
    -- Each key once at the start; a clock without marks would lose them again and again.
    assert.is_true(misses < 100, misses .. " misses")
  end)
end)

-- Random batches over few keys, against plain tables. Redis is `stored`; `now` what the batch sees on top of it.
describe("states against a model", function()
  local function play(seed, most_bytes, key_count, rounds)
    local draw, where = runtime.generator(seed), "seed " .. seed
    local s, stored, now, expiry, order, is_changed = create(most_bytes), {}, {}, {}, {}, {}
    local clock, serial = 1000, 0
    local names, evicted, biggest = {}, 0, 0
    for i = 1, key_count do
      names[i] = { draw(3), (i % 7 == 0 and ("\0long key "):rep(5) or "k") .. i }
    end

    local function reset_batch()
      now, order, is_changed = {}, {}, {}
    end

    local function value(i)
      return now[i] or stored[i] or ""
    end

    local function version_of(bytes) return bytes == "" and 0 or select(2, head(bytes)) end

    local function slot_of(i)
      local rule, key = names[i][1], names[i][2]
      local slot = s:find(rule, key)
      if not slot then
        assert(not is_changed[i], "a changed slot is gone, " .. where)
        assert(s:load(rule, key, stored[i]))
        slot = assert(s:find(rule, key))
      end
      assert(text(slot) == value(i), "another state than the model's, " .. where)
      assert(slot.len == 0 or slot.expiry_ms == expiry[text(slot)], where)
      assert(slot.version == version_of(text(slot)), where)
      return slot
    end

    local function put(i)
      local slot, kind = slot_of(i), draw(10)
      local old, new = value(i), ""
      if kind <= 6 then
        serial = serial + 1
        new = packed(clock + draw(50), state_of(serial, draw(20) == 1 and draw(3000) or draw(60)), serial)
      elseif kind <= 8 and old ~= "" then
        new = packed(clock + 50, old:sub(HEAD + 1), kind == 7 and version_of(old) or serial)
      end
      if new ~= "" then expiry[new] = (head(new)) end
      s:put(slot, new, new ~= "" and expiry[new] or 0, clock, version_of(new))
      local is_same = new:sub(HEAD + 1) == old:sub(HEAD + 1) and version_of(new) == version_of(old)
        and (old == "" or new ~= "" and expiry[old] > clock)
      if not is_same then
        if not is_changed[i] then order[#order + 1] = i end
        is_changed[i], now[i] = true, new
      end
      assert(text(slot) == value(i), where)
    end

    local function compare_changes()
      local list = s:changes()
      assert(#list == #order, where)
      for n, i in ipairs(order) do
        assert(list[n][1] == names[i][1] and list[n][2] == names[i][2] and list[n][3] == value(i), where)
      end
    end

    local function seal()
      compare_changes()
      for _, i in ipairs(order) do stored[i] = now[i] ~= "" and now[i] or nil end
      s:seal()
      reset_batch()
    end

    -- Every slot in the table can be found: none was lost when others were taken out.
    local function compare_count()
      local found = 0
      for i = 1, key_count do
        if s:find(names[i][1], names[i][2]) then
          found = found + 1
          slot_of(i)
        end
      end
      assert(found == s:count(), ("%d of %d slots can be found, %s"):format(found, s:count(), where))
    end

    for _ = 1, rounds do
      local before = s:count()
      s:begin()
      evicted = evicted + before - s:count()
      assert(s:bytes() <= most_bytes, where)
      for _ = 1, draw(60) do
        local i = draw(4) == 1 and draw(key_count) or draw(math.ceil(key_count / 5))
        if draw(2) == 1 then put(i) else slot_of(i) end
      end
      biggest = math.max(biggest, s:count())
      clock = clock + draw(10)
      local ending = draw(20)
      if ending <= 12 then
        seal()
      elseif ending <= 18 then
        s:discard()
        reset_batch()
        if draw(2) == 1 then
          put(draw(key_count))
          seal()
        end
      elseif ending == 19 and draw(10) == 1 then
        s:drop()
        reset_batch()
      else
        seal()
        compare_count()
      end
    end
    compare_count()
    return evicted, biggest
  end

  local seed = runtime.seed()

  it("hold with room for few, seed " .. seed, function()
    assert.is_true(play(seed, 20000, 400, 800) > 1000)
  end)

  it("hold with a table that grows and is full of runs, seed " .. seed, function()
    local evicted, biggest = play(seed + 1, 300000, 6000, 1500)
    assert.is_true(biggest > 768, "the table never grew")
    assert.is_true(evicted > 1000)
  end)

  it("hold when nothing may stay, seed " .. seed, function()
    play(seed + 2, 0, 100, 500)
  end)

  -- Taking out of a nearly full table of the smallest size is what moves others up, over its end as well.
  it("hold when a nearly full table is emptied in steps, seed " .. seed, function()
    local draw = runtime.generator(seed)
    for _ = 1, 20 do
      local s, count = create(30000 + draw(90000)), 760
      for i = 1, count do s:load(1, "key" .. i, packed(0, state_of(i, draw(40)))) end
      s:begin()
      local found = 0
      for i = 1, count do
        local slot = s:find(1, "key" .. i)
        if slot then
          found = found + 1
          assert(text(slot):find(tostring(i), 1, true), "seed " .. seed)
        end
      end
      assert.equal(s:count(), found, "seed " .. seed)
      assert.is_true(found < count)
      for i = 1, count do s:load(1, "key" .. i, packed(0, "\x80")) end
      assert.equal(count, s:count(), "seed " .. seed)
    end
  end)
end)

describe("a rule all of whose states are here", function()
  local s

  before_each(function()
    s = create(20000)
    C.states_know_all(s.handle, 3)
  end)

  it("has no state under a key without a slot, and says so at once", function()
    local slot = assert(s:find(3, "new"))
    assert.equal("", text(slot))
    s:put(slot, packed(0, state_of("a", 0)))
    assert.same({ { 3, "new", packed(0, state_of("a", 0)) } }, s:changes())
  end)

  it("is alone in that", function()
    for _, rule in ipairs { 0, 1, 2, 4, 1000 } do assert.is_nil(s:find(rule, "new")) end
    C.states_know_all(s.handle, 9)
    assert.is_truthy(s:find(9, "new"))
    assert.is_nil(s:find(8, "new"))
    assert.is_truthy(s:find(3, "other"))
  end)

  it("is not any more once one of its states had to go", function()
    local put = 0
    repeat
      s:begin()
      local slot = s:find(3, "key" .. put)
      if slot then
        put = put + 1
        s:put(slot, packed(0, state_of(put, 100)))
        s:seal()
      end
    until not slot
    assert.is_true(put > 20)
    assert.is_true(s:count() < put, "a state was dropped")
    assert.is_nil(s:find(3, "another"))
  end)

  -- Closed windows leave such slots behind, and never come back.
  it("is so still when only slots without a state had to go", function()
    local keep = packed(0, state_of("kept", 10))
    s:put(s:find(3, "keep"), keep)
    s:seal()
    local dropped = 0
    for i = 1, 2000 do
      local before = s:count()
      s:begin()
      dropped = dropped + before - s:count()
      assert.equal(keep, text(assert(s:find(3, "keep"))))
      local slot = assert(s:find(3, "key" .. i))
      s:put(slot, packed(0, state_of(i, 20)))
      s:seal()
      s:put(slot, nil)
      s:seal()
    end
    assert.is_true(dropped > 1000, dropped .. " were dropped")
    assert.is_true(s:bytes() <= 20200)
    assert.equal("", text(assert(s:find(3, "key1"))))
  end)

  it("is not any more when everything is forgotten", function()
    s:drop()
    assert.is_nil(s:find(3, "new"))
  end)
end)
