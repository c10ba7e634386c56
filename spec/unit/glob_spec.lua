local runtime = require "spec.support.runtime"
local redis = require "spec.support.redis"
local glob = require "tidemill.glob"

local function fits(pattern, name) return glob.matcher(pattern)(name) end

describe("glob", function()
  it("tells patterns from names", function()
    for _, name in ipairs { "orders", "orders:{3}", "a]b", "a\\b", "a-b^c" } do assert.is_false(glob.is_pattern(name), name) end
    for _, name in ipairs { "orders:*", "a?", "[ab]", "[" } do assert.is_true(glob.is_pattern(name), name) end
  end)

  -- Each as redis-cli answers it (util.c, stringmatchlen).
  local cases = {
    { "*", "anything", true }, { "**", "x", true }, { "", "", true }, { "", "x", false },
    { "orders:*", "orders:", true }, { "orders:*", "orders:1", true }, { "orders:*", "order:1", false },
    { "*:de", "orders:de", true }, { "*:de", "orders:de2", false }, { "a*b*c", "a-b-b-c", true }, { "a*b*c", "a-c-b", false },
    { "?", "", false }, { "?", "x", true }, { "??", "x", false }, { "a?c", "abc", true }, { "a?c", "ac", false },
    { "[abc]x", "bx", true }, { "[abc]x", "dx", false }, { "[a-c]", "b", true }, { "[a-c]", "d", false },
    { "[c-a]", "b", true }, { "[^a-c]", "d", true }, { "[^a-c]", "b", false }, { "[^a]", "", false },
    { "[a-]", "-", false }, { "[a-]", "a", true }, { "[-a]", "-", true }, { "[\\]]", "]", true }, { "[a\\-c]", "b", false },
    { "[a\\-c]", "-", true }, { "x[]y", "xy", false }, { "[]", "a", false }, { "[]", "", false }, { "[^]", "a", true },
    { "[abc", "c", true }, { "[abc", "d", false }, { "a.c", "abc", false }, { "a.c", "a.c", true }, { "a%d", "a1", false },
    { "a\\*", "a*", true }, { "a\\*", "ab", false }, { "a\\?", "a?", true }, { "a\\[b]", "a[b]", true }, { "a\\", "a\\", true },
    { "(a|b)", "a", false }, { "^a$", "a", false }, { "^a$", "^a$", true }, { "a+", "aa", false }, { "*\n*", "x\ny", true },
    { "?", "\0", true }, { "[\1-\3]*", "\2\0", true }, { "*\255", "a\255", true }, { "h*llo*", "hello world", true },
  }
  for _, case in ipairs(cases) do
    it(("%q %s %q"):format(case[1], case[3] and "fits" or "does not fit", case[2]), function()
      assert.equal(case[3], fits(case[1], case[2]))
    end)
  end

  it("fits what a real Redis fits", function()
    local server = redis.start()
    local seed = runtime.seed()
    local draw = runtime.generator(seed)
    local function check(pattern, name)
      server:call("SET", name, "x")
      local found = server:call("KEYS", pattern)[1] == name
      server:call("DEL", name)
      assert.equal(found, fits(pattern, name), ("seed %d: %q and %q"):format(seed, pattern, name))
    end
    for _, case in ipairs(cases) do check(case[1], case[2]) end
    local function text(letters, most)
      local list = {}
      for n = 1, draw(most) do list[n] = letters[draw(#letters)] end
      return table.concat(list)
    end
    local in_patterns = { "a", "b", "c", "*", "*", "?", "[", "]", "^", "-", "\\", "[a-b]", "[^c]" }
    for _ = 1, 5000 do check(text(in_patterns, 7), text({ "a", "b", "c", "-", "]", "^" }, 6)) end
    server:stop()
  end)

  it("does not explode on many stars", function()
    local matches = glob.matcher(("*a"):rep(40) .. "b")
    local started = os.clock()
    assert.is_false(matches(("a"):rep(2000)))
    assert.is_true(os.clock() - started < 1)
  end)
end)
