-- The limiter against a model: every call is either said or counted, and every count is said once. (log_spec.lua has the plain
-- cases.)
local ffi = require "ffi"
local header = require "spec.support.header"
local runtime = require "spec.support.runtime"
local C = header.load("src/base/limiter.h")

local function create()
  local l, held = ffi.new("struct limiter"), ffi.new("uint64_t[1]")
  local kind, tag = ffi.new("const char *[1]"), ffi.new("int[1]")
  return {
    pass = function(name, now, level)
      held[0] = 99
      return C.limiter_may_pass(l, name, level or 0, now, held), tonumber(held[0])
    end,
    take = function(now)
      if not C.limiter_take_held(l, now, kind, tag, held) then return nil end
      return ffi.string(kind[0]), tonumber(held[0]), tag[0]
    end,
  }
end

describe("the limiter", function()
  it("tells kinds apart by their first 47 bytes", function()
    local l, long = create(), ("k"):rep(47)
    assert.is_true((l.pass(long .. "a", 0)))
    assert.is_false((l.pass(long .. "b", 0)))
    assert.is_true((l.pass(("k"):rep(46), 0)))
    assert.is_true((l.pass(("k"):rep(46) .. "x", 0)))
    assert.same({ long, 1, 0 }, { l.take(5000) })
  end)

  it("keeps the last word about what it holds", function()
    local l = create()
    l.pass("a", 0, 1)
    l.pass("a", 1, 2)
    l.pass("a", 2, 3)
    assert.same({ "a", 2, 3 }, { l.take(1000) })
  end)

  it("makes room by dropping the kind that has been quiet longest", function()
    local l = create()
    for i = 1, C.LIMITER_KINDS do l.pass("kind" .. i, i) end
    assert.is_true((l.pass("new", 500)))
    assert.is_false((l.pass("kind2", 501))) -- still known
    assert.is_true((l.pass("kind1", 501))) -- this one made room, and takes the place of the next
    assert.is_false((l.pass("kind2", 502)))
    assert.is_true((l.pass("kind3", 503)))
  end)

  it("may be asked at the end of time", function()
    local l, last = create(), 2 ^ 53
    assert.is_true((l.pass("a", last)))
    assert.is_false((l.pass("a", last)))
    assert.same({ true, 1 }, { l.pass("a", last + 1000) })
  end)

  local seed = runtime.seed()
  it("says or counts everything, and no kind twice in a second, seed " .. seed, function()
    local draw = runtime.generator(seed)
    for _, kinds in ipairs { 3, 64, 65, 200 } do
      local l, now, asked, said, counted, last, unlimited = create(), 0, 0, 0, 0, {}, 0
      local function note(name, extra)
        said, counted = said + 1, counted + extra
        if last[name] and now - last[name] < 1000 then unlimited = unlimited + 1 end
        last[name] = now
      end
      for _ = 1, 20000 do
        now = now + draw(20) - 1
        if draw(10) == 1 then
          local name, count = l.take(now)
          if name then
            note(name, count)
            said = said - 1 -- a line about others, itself asked by nobody
          end
        else
          local name = "kind" .. draw(kinds)
          asked = asked + 1
          local may_pass, count = l.pass(name, now)
          if may_pass then note(name, count) end
        end
      end
      now = now + 5000
      for name, count in function() return l.take(now) end do
        assert.is_true(count > 0, name)
        counted = counted + count
      end
      assert.equal(asked, said + counted, "seed " .. seed)
      if kinds <= C.LIMITER_KINDS then assert.equal(0, unlimited, "seed " .. seed) end
    end
  end)
end)
