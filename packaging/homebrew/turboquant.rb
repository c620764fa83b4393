# Builds turboquant from source. Until there is a release, from the main branch:
#
#   brew install --HEAD --formula ./packaging/homebrew/turboquant.rb
#
# A release adds `url` (the tag's archive) and `sha256` above `head`; nothing else changes.
class Turboquant < Formula
  desc "Runs and serves language models with a compressed KV cache"
  homepage "https://github.com/llama-turboquant/llama-turboquant"
  license any_of: ["MIT", "Apache-2.0"]
  head "https://github.com/llama-turboquant/llama-turboquant.git", branch: "main"

  depends_on "cmake" => :build # 3.18 and newer
  depends_on "llvm" => :build  # libclang, which bindgen loads
  depends_on "rust" => :build  # 1.95 and newer
  depends_on macos: :ventura

  def install
    ENV["LIBCLANG_PATH"] = Formula["llvm"].opt_lib.to_s
    # No feature `native`: a bottle must run on every Mac of its architecture. Metal needs no feature.
    system "cargo", "install", *std_cargo_args(path: "cli")
  end

  def caveats
    <<~EOS
      `turboquant verify` runs every kernel on this Mac's graphics processor, in about a minute.
      `turboquant doctor` tells whether the graphics processor may keep more of the memory.
    EOS
  end

  test do
    ENV["HOME"] = testpath # the embedded model is unpacked there
    system bin/"turboquant", "verify", "--quick", "--report", testpath/"verify.md"
    assert_match "| result | passed |", (testpath/"verify.md").read
  end
end
