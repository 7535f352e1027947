"""The check that a tokenizer knows words; transformers builds an empty one of files that are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError

NEARLY_ALL = 0.8

SAMPLES = {
    "Latin": "the river flows through a large city and into the sea near many old towns",
    "Cyrillic": "река течёт через большой город и впадает в море около многих старых домов",
    "Arabic": "النهر يجري في مدينة كبيرة ثم يصل إلى البحر قرب بيوت قديمة",
    "Han": "河 水 流 过 大 城 市 人 们 住 在 这 里 很 久",
    "Kana": "かわ は まち を とおり うみ に ながれ ます ホテル バス テレビ ラジオ",
    "Hangul": "강은 큰 도시를 지나 바다로 흐르고 많은 사람들이 오래된 집에서 산다",
    "Devanagari": "नदी बड़े शहर से होकर समुद्र में जाती है और लोग पुराने घर",
    "Bengali": "নদী বড় শহর দিয়ে সাগরে যায় এবং অনেক মানুষ পুরোনো ঘরে থাকে",
    "Telugu": "నది పెద్ద నగరం గుండా సముద్రంలో కలుస్తుంది మరియు చాలా ఇళ్ళు పాతవి",
    "Tamil": "ஆறு பெரிய நகரம் வழியாக கடலில் சேரும் மற்றும் பல வீடுகள் பழைய",
    "Kannada": "ನದಿ ದೊಡ್ಡ ನಗರ ಮೂಲಕ ಸಮುದ್ರ ಸೇರುತ್ತದೆ ಮತ್ತು ಅನೇಕ ಮನೆ ಹಳೆಯ",
    "Malayalam": "നദി വലിയ നഗരം വഴി കടലിൽ ചേരുന്നു ഒരു പല വീടുകൾ പഴയ",
    "Gujarati": "નદી મોટા શહેર માંથી દરિયામાં જાય છે અને ઘણા ઘર જૂના",
    "Gurmukhi": "ਨਦੀ ਵੱਡੇ ਸ਼ਹਿਰ ਵਿੱਚੋਂ ਸਮੁੰਦਰ ਵਿੱਚ ਜਾਂਦੀ ਹੈ ਅਤੇ ਬਹੁਤ ਘਰ ਪੁਰਾਣੇ",
    "Odia": "ନଦୀ ବଡ଼ ସହର ଦେଇ ସମୁଦ୍ରରେ ମିଶେ ଏବଂ ଅନେକ ଘର ପୁରୁଣା",
    "Sinhala": "ගඟ විශාල නගරය හරහා මුහුදට ගලයි සහ බොහෝ නිවාස පැරණි",
    "Thai": "แม่น้ำ ไหล ผ่าน เมือง ใหญ่ ลง ทะเล และ คน มาก บ้าน เก่า",
    "Lao": "ແມ່ນ້ຳ ໄຫຼ ຜ່ານ ເມືອງ ໃຫຍ່ ລົງ ທະເລ ແລະ ຄົນ ຫຼາຍ ເຮືອນ ເກົ່າ",
    "Khmer": "ទន្លេ ហូរ កាត់ ទីក្រុង ធំ ចូល សមុទ្រ និង មនុស្ស ច្រើន ផ្ទះ ចាស់",
    "Myanmar": "မြစ် မြို့ ကြီး ကို ဖြတ် ပင်လယ် သို့ နှင့် လူ များ အိမ် ဟောင်း",
    "Tibetan": "གཙང་པོ གྲོང་ཁྱེར ཆེན་པོ རྒྱ་མཚོ ལ འགྲོ དང མི མང་པོ ཁང་པ རྙིང་པ ཡོད",
    "Greek": "το ποτάμι περνά από μια μεγάλη πόλη και φτάνει στη θάλασσα κοντά",
    "Hebrew": "הנהר זורם דרך עיר גדולה אל הים ליד בתים ישנים של אנשים",
    "Armenian": "գետը հոսում է մեծ քաղաքով դեպի ծով և շատ մարդիկ հին տներ",
    "Georgian": "მდინარე დიდ ქალაქში გადის და ზღვაში ჩადის ბევრი ხალხი ძველი სახლი",
    "Ethiopic": "ወንዙ በትልቅ ከተማ አልፎ ወደ ባሕር ይፈስሳል እና ብዙ ሰዎች አሮጌ ቤት",
}
"""Common words of one language per script, separated by spaces."""


def check_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Raise :class:`InputError` for a tokenizer without a vocabulary: one that knows the words of no script.

    A tokenizer of a single language knows its own script, and one of bytes or characters knows all of them.
    """
    if not any(_knows(tokenizer, sample.split()) for sample in SAMPLES.values()):
        raise InputError(
            f"its tokenizer has no vocabulary: in each of {len(SAMPLES)} scripts, nearly every word is unknown",
            path=folder,
            hint="copy the tokenizer's files, such as tokenizer.json, vocab.txt or spm.model, into the folder",
        )


def _knows(tokenizer: Any, words: Sequence[str]) -> bool:
    """Whether a tokenizer tells words apart; unknown ones all become the same token, or none."""
    try:
        tokens = [frozenset(ids) for ids in tokenizer(list(words), add_special_tokens=False)["input_ids"]]
    except Exception:  # an unknown word without a token for it
        return False
    ((_, most),) = Counter(tokens).most_common(1)
    return bool(most < NEARLY_ALL * len(words))
