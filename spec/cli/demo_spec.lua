-- The demo, with fewer events: its sums are those of the generator.
local files = require "spec.support.files"
local process = require "spec.support.process"
local program = require "spec.support.program"

local EVENTS = 20000

local function generate(...)
  local code, out, err = process.run({ "luajit", "scripts/demo.d/generate.lua", ... }, 30)
  assert.same({ 0, "" }, { code, err })
  return out
end

describe("the generator of the demo", function()
  it("gives the same events for the same seed", function()
    local one = generate("--events", "2000", "--seed", "7")
    assert.equal(one, generate("--events", "2000", "--seed", "7"))
    assert.not_equal(one, generate("--events", "2000", "--seed", "8"))
    assert.equal(2000, select(2, one:gsub("\n", "\n")))
  end)

  it("prints one stream as JSON lines", function()
    local all = generate("--events", "2000", "--bad", "0")
    local cart = generate("--events", "2000", "--bad", "0", "--only", "cart")
    local expected = {}
    for line in all:gmatch "cart\t([^\n]+)" do
      expected[#expected + 1] = line .. "\n"
    end
    assert.is_true(#expected > 100)
    assert.equal(table.concat(expected), cart)
  end)
end)

describe("the demo", function()
  it("shows what happened, and leaves nothing behind", function()
    local report = files.temp_folder() .. "/made"
    generate("--events", tostring(EVENTS), "--only", "none", "--raw", "cat", "--report", report)
    local made, bad = {}, 0
    for name, count in files.read_file(report):gmatch "([^\t\n]+)\t(%d+)" do
      made[name] = tonumber(count)
      bad = bad + (name:find "^bad:" and count or 0)
    end
    assert.equal(EVENTS, made.browse + made.cart + made.purchase + made.payment)

    local code, out, err = process.run({ "scripts/demo",
      env = { DEMO_EVENTS = tostring(EVENTS), TIDEMILL_BIN = program.path(), DEMO_RULES = false, DEMO_SEED = false } }, 120)
    assert.same({ 0, "" }, { code, err }, out)
    assert.is_nil(out:find("\27", 1, true)) -- no colours into a pipe

    local numbers = out:gsub("(%d),(%d)", "%1%2")
    for _, stream in ipairs { "browse", "cart", "purchase", "payment" } do
      local entries, read, lag = numbers:match("\n  " .. stream .. " +(%d+) +(%d+) +(%d+)\n")
      if entries then
        assert.same({ made[stream], made[stream], 0 }, { tonumber(entries), tonumber(read), tonumber(lag) }, stream)
      else
        assert.is_truthy(numbers:find("\n  " .. stream .. " +" .. made[stream] .. "   no rule reads it\n"), out)
      end
    end
    -- Each cut entry is one letter, however many rules read its stream.
    local decode = 0
    for count in numbers:gmatch "\n +(%d+)  decode " do
      decode = decode + count
    end
    assert.is_true(bad > 0 and decode > 0, out)
    assert.is_true(decode <= (made["bad:cut JSON"] or 0) + (made["bad:cut msgpack"] or 0), out)

    local folder = out:match "a private one in (%S+)"
    assert.is_false(files.exists(folder .. "/redis.log"), folder)
    assert.equal(1, (process.run({ "sh", "-c", "test -e " .. folder })))
  end)
end)
