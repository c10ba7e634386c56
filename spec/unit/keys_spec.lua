local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/stream/keys.h")

local function keys(tag, group)
  local k = ffi.gc(ffi.new("struct keys"), C.keys_fini)
  C.keys_init(k, tag, tag and #tag or 0, group)
  return k
end

-- The tag of a ctl key, "" for the untagged partition, nil when it is no ctl of the group.
local function tag_of(key, group)
  local tag, len = ffi.new("const char *[1]"), ffi.new("size_t[1]")
  if C.keys_is_ctl(key, #key, group, tag, len) then
    return tag[0] == nil and "" or ffi.string(tag[0], len[0])
  end
end

-- The tag of the partition of a stream.
local function partition_of(stream, untagged_alone)
  local tag, len = ffi.new("const char *[1]"), ffi.new("size_t[1]")
  C.keys_tag_of(stream, #stream, untagged_alone or false, tag, len)
  return ffi.string(tag[0], len[0])
end

describe("the partition of a stream", function()
  it("is what stands in its first braces, else nothing, or itself", function()
    for stream, tag in pairs { ["orders:{3}"] = "3", ["{a}{b}"] = "a", ["x{}y{z}"] = "", orders = "", ["{"] = "", ["}{"] = "", ["a{b"] = "",
      ["{a}b}"] = "a", ["{{a}}"] = "{a" } do
      assert.equal(tag, partition_of(stream), stream)
      assert.equal(tag == "" and stream or tag, partition_of(stream, true), stream)
    end
  end)
end)

describe("the names of keys", function()
  it("of the untagged partition", function()
    local k = keys(nil, "shop")
    assert.equal("tidemill:shop:", header.text(k.prefix))
    assert.equal("tidemill:shop:ctl", header.text(k.ctl))
    assert.equal("tidemill:shop:lease", header.text(k.lease))
    assert.equal("tidemill:shop:dlq", header.text(k.dlq))
    assert.equal("tidemill:shop:inbox", header.text(k.inbox))
    assert.equal("tidemill:shop:decisions", header.text(k.decisions))
    assert.equal(0, tonumber(k.tag.len))
  end)

  it("of a tagged one, whatever its bytes", function()
    local k = keys("a:b\0c", "g")
    assert.equal("tidemill:{a:b\0c}:g:ctl", header.text(k.ctl))
    assert.equal("a:b\0c", header.text(k.tag))
  end)

  it("of a rule's state", function()
    local k, out = keys("3", "shop"), ffi.gc(ffi.new("struct buf"), C.buf_fini)
    for _, rule in ipairs({ "cart-reminder", "x" }) do
      C.keys_state(k, rule, out)
      assert.equal("tidemill:{3}:shop:state:" .. rule, header.text(out))
      assert.equal(header.text(out), ffi.string(out.data))
    end
  end)

  it("are told apart from others", function()
    assert.equal("", tag_of("tidemill:shop:ctl", "shop"))
    assert.equal("3", tag_of("tidemill:{3}:shop:ctl", "shop"))
    assert.equal("shop:ctl", tag_of("tidemill:{shop:ctl}:shop:ctl", "shop"))
    -- partition = "stream", and a stream of that name
    assert.equal("a}b", tag_of("tidemill:{a}b}:shop:ctl", "shop"))
    for _, key in ipairs({
      "", "tidemill:", "tidemill:shop:dlq", "tidemill:myshop:ctl", "tidemill:my:shop:ctl",
      "tidemill:{}:shop:ctl",
      "tidemill:{a:shop:ctl", "tidemill:{a}shop:ctl", "xidemill:shop:ctl", "shop:ctl", ":ctl",
    }) do
      assert.is_nil(tag_of(key, "shop"), key)
    end
    assert.is_true(C.keys_is_ours("tidemill:x", 10))
    assert.is_false(C.keys_is_ours("tidemil", 7))
    assert.is_false(C.keys_is_ours("mytidemill:x", 12))
  end)

  it("match the pattern for SCAN", function()
    local out = ffi.gc(ffi.new("struct buf"), C.buf_fini)
    C.keys_append_ctl_pattern(out, "shop")
    assert.equal("tidemill:*shop:ctl", header.text(out))
  end)
end)
