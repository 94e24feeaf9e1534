"""The preset dictionary of a ticket's metadata: text that it is likely to repeat.

Part of format version 1 for good: a byte changed here would make every ticket unreadable.
``docs/ticket-format.md`` holds the same bytes.
"""

DICTIONARY = (
    b'"scope":"layer","variant":"sampled","rescale":true,"evaluation":"rounded","densities":'
    b'[0.5,0.25,0.1],"name":"multicoat","name":"biprop","name":"bernoulli","name":"edge_popup",'
    b'"name":"signed_topk","start_density":1.0,"scope":"global","fraction":0.4,"rule":'
    b'"fraction_of_max","params":[["conv1/bias",[64]],["dense1/bias",[256]]],"batch_stats":'
    b'[["conv1_norm/bn/mean",[64]],["conv1_norm/bn/var",[64]],["dense1_norm/bn/mean",[256]],'
    b'["dense1_norm/bn/var",[256]]],"coding":"values","kept":"magnitudes":[{"coding":"signs",'
    b'"kept":1,"magnitudes":[0.1],"name":"conv8/kernel","shape":[3,3,512,512]},{"coding":"signs",'
    b'"kept":1,"magnitudes":[0.1],"name":"conv1/kernel","shape":[3,3,3,64]},{"coding":"signs",'
    b'"kept":1,"magnitudes":[0.1],"name":"conv2/kernel","shape":[3,3,64,64]},{"coding":"signs",'
    b'"kept":1,"magnitudes":[0.1],"name":"dense1/kernel","shape":[16384,256]},{"coding":"signs",'
    b'"kept":1,"magnitudes":[0.1],"name":"dense2/kernel","shape":[256,256]},{"coding":"signs",'
    b'"kept":1,"magnitudes":[0.1],"name":"dense3/kernel","shape":[256,10]}],"sha256":"",'
    b'"data":"cifar10","images":10000,"data":"mnist","split":"test","value":0.9'
    b'"name":"sgd","weight_decay":0.0001,"learning_rate":0.1,"nesterov":false,"per_epoch":true,'
    b'"name":"cosine","scale":"he","scale":"elus_sqrt6","activation":"relu","norm":"batch",'
    b'"name":"conv2","name":"conv4","name":"conv6","name":"conv8","image_shape":[32,32,3],'
    b'"protocol":"validation","seed":0,"validation_fraction":0.1,'
    b'{"accuracy":{"data":"mnist","images":10000,"split":"test","value":0.97},"batch_stats":[],'
    b'"coded":1000,"config":{"batch_size":128,"checkpoints_to_keep":3,"data":{"name":"mnist","shuffle":true},'
    b'"epochs":100,"eval_batch_size":500,"method":{"anneal":0.5,"density":0.0,"name":"signed",'
    b'"score_init":{"distribution":"uniform","gain":1.0,"scale":"xavier"},"threshold":{"rule":'
    b'"absolute","value":0.01}},"model":{"activation":"elu","name":"fcn","norm":"none","width":'
    b'1.0},"name":"fcn-published","optimizer":{"learning_rate":0.05,"momentum":0.9,"name":"sgdw",'
    b'"nesterov":true,"weight_decay":0.0005},"protocol":"paper","schedule":{"every":10.0,"name":'
    b'"exponential","rate":0.9,"staircase":false},"seed":0,"validation_fraction":0.1,'
    b'"weight_init":{"distribution":"signed_constant","gain":1.0,"scale":"elus_sqrt3"}},'
    b'"image_shape":[28,28,1],"layers":[{"coding":"signs","kept":1,"magnitudes":[0.0618],"name":'
    b'"dense1/kernel","shape":[784,300]},{"coding":"signs","kept":1,"magnitudes":[0.1],"name":'
    b'"dense2/kernel","shape":[300,100]},{"coding":"signs","kept":1,"magnitudes":[0.1732],"name":'
    b'"dense3/kernel","shape":[100,10]}],"method":"signed","model":{"activation":"elu","name":'
    b'"fcn","norm":"none","width":1.0},"num_classes":10,"params":[],"preprocessing":"standardize",'
    b'"sha256":"","versions":{"flax":"0.12.8","jax":"0.10.2","numpy":"2.4.6","supermask-jax":'
    b'"0.1.0"},"weights_sha256":""}'
)
